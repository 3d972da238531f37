"""Pages of a run's events: every event once and with its whole body, in answers of a bounded size."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.rpc import TraceEvent, TraceRequest
from agentflow_trace import event_pages, machine, rows
from tests.support.trace_rows import rows_of

IDS: dict[str, Any] = {"org": "acme", "run": "run_1"}
SUBMITTED = ev.RunSubmitted(**IDS, ts=1, workflow="wf", version=1, definition={})


def _done(step: str, text: str = "", before: int = 0) -> ev.StepCompleted:
    done = tuple(
        ev.DoneStep(f"{step}-{number}", ev.BegunStep(f"{step}-{number + 1}", "tool"), 2, output=ev.Payload(text))
        for number in range(before)
    )
    return ev.StepCompleted(**IDS, ts=2, step=step, attempt=1, output=ev.Payload(text), before=done)


def _log(*events: ev.Event) -> list[rows.Row]:
    return rows_of(enumerate(events, 1))


def _answer(log: list[rows.Row], **request: Any) -> Any:
    asked = TraceRequest(org="acme", run="run_1", **request)
    return event_pages.with_events(machine.reply("run_1", log), log, asked, is_cut=False)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3)), max_size=12), st.integers(1, 9), st.integers(1, 900))
def test_the_pages_of_a_log_have_each_event_once(steps: list[tuple[int, int]], events_max: int, bytes_max: int) -> None:
    log = _log(SUBMITTED, *(_done(f"s{number}", '"' * size, n) for number, (size, n) in enumerate(steps)))
    whole = event_pages.page_of(log, 10_000, 10**9, bodies=True, more=False)
    assert len(whole.events) == len(log) and not whole.more
    found: list[TraceEvent] = []
    left = log
    while True:
        some = left[: events_max + 4]  # as ClickHouse gives them: the last message may be cut
        page = event_pages.page_of(some, events_max, bytes_max, bodies=True, more=len(some) < len(left))
        messages = {event.seq for event in page.events}
        assert len(messages) == 1 or sum(event_pages.wire_size(event.body) for event in page.events) <= bytes_max
        assert len(page.events) < events_max + 4 and page.events
        found += page.events
        if not page.more:
            break
        left = [row for row in left if row.stream_seq > page.events[-1].seq]
    assert tuple(found) == whole.events


def test_an_answer_without_pages_leaves_out_what_does_not_fit_and_says_so() -> None:
    log = _log(SUBMITTED, *(_done(f"s{number}", "x" * 1_000_000) for number in range(8)))
    answer = _answer(log)
    assert answer.truncated and not answer.more
    assert [bool(event.body) for event in answer.events] == [True] * 4 + [False] * 5
    assert len(msgspec.json.encode(answer)) < 4 * 1024 * 1024
    assert not _answer(log[:3]).truncated


def test_quotes_and_other_scripts_count_as_they_stand_in_the_answer() -> None:
    for text in ('"' * 1_000_000, "漢" * 700_000):
        answer = _answer(_log(SUBMITTED, *(_done(f"s{number}", text) for number in range(6))), events_max=1_000)
        assert answer.more and answer.truncated
        assert len(msgspec.json.encode(answer)) < 4 * 1024 * 1024


def test_without_bodies_only_the_submission_has_one() -> None:
    answer = _answer(_log(SUBMITTED, _done("a", "x")), bodies=False)
    assert [bool(event.body) for event in answer.events] == [True, False]
    assert not answer.truncated


def test_a_run_with_more_rows_than_were_read_is_truncated() -> None:
    log = _log(SUBMITTED, _done("a"), _done("b", before=2))
    asked = TraceRequest(org="acme", run="run_1")
    answer = event_pages.with_events(machine.reply("run_1", log), log[:-1], asked, is_cut=True)
    assert answer.truncated and answer.more
    assert [event.seq for event in answer.events] == [1, 2]  # the last message was not whole
