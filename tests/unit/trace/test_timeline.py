"""The timeline of a run: attempts apart, waits and durations, late reports, bounds of an answer."""

from __future__ import annotations

from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.events import StepError
from agentflow_trace import event_pages, machine, rows

ORG, RUN = "acme", "run_1"
IDS: dict[str, Any] = {"org": ORG, "run": RUN}
SUBJECT = subjects.run_in(subjects.key_of(ORG, RUN))


def _rows(*events: ev.Event) -> list[rows.Row]:
    return [rows.of("AF_EVENTS", SUBJECT, ev.encode(event), seq, event.ts) for seq, event in enumerate(events, 1)]


def _scheduled(ts: int, attempt: int = 1, seen: int = 1) -> ev.StepScheduled:
    return ev.StepScheduled(**IDS, ts=ts, seen=seen, step="a", attempt=attempt, lane="default", kind="llm", config={})


SUBMITTED = ev.RunSubmitted(**IDS, ts=100, workflow="wf", version=1, definition={}, redactions={"IBAN_CODE": 1})
STARTED = ev.RunStarted(**IDS, ts=110, seen=1, workflow="wf", version=1, steps=1)


def test_a_retry_is_an_attempt_of_its_own() -> None:
    usage = ev.LlmUsage("p", "m", "x@1", 10, 5, 700)
    answer = machine.reply(
        RUN,
        _rows(
            SUBMITTED,
            STARTED,
            _scheduled(120),
            ev.StepFailed(
                **IDS, ts=150, step="a", attempt=1, error=StepError("rate_limited", "wait"), worker="w", started_at=130,
                duration_ms=20, llm=ev.LlmUsage("p", "m", "x@1", 10, 0, 300),
            ),
            ev.TimerSet(**IDS, ts=151, seen=4, timer="t", kind="retry", fire_at=200, step="a", attempt=1),
            ev.TimerFired(**IDS, ts=200, timer="t", kind="retry", step="a", attempt=1),
            _scheduled(205, 2, 6),
            ev.StepCompleted(
                **IDS, ts=260, step="a", attempt=2, worker="w", started_at=210, duration_ms=50, llm=usage,
                redactions={"IBAN_CODE": 2},
            ),
            ev.RunCompleted(**IDS, ts=270, seen=8, cost_nano=1000),
        ),
    )  # fmt: skip
    first, second = answer.steps
    assert (first.attempt, first.status, first.error, first.cost_nano) == (1, "failed", "rate_limited: wait", 300)
    assert (first.scheduled_at, first.started_at, first.finished_at, first.wait_ms) == (120, 130, 150, 10)
    assert (second.attempt, second.status, second.wait_ms, second.duration_ms) == (2, "completed", 5, 50)
    assert (answer.status, answer.workflow, answer.cost_nano) == ("completed", "wf", 1000)
    assert (answer.started_at, answer.finished_at) == (100, 270)
    assert (answer.input_tokens, answer.output_tokens) == (20, 5)
    assert answer.redactions == {"IBAN_CODE": 3}


def test_a_result_that_the_scheduler_had_not_seen_comes_after_its_time_out() -> None:
    late = ev.StepCompleted(
        **IDS, ts=140, step="a", attempt=1, worker="w", started_at=130, llm=ev.LlmUsage("p", "m", "", 1, 1, 9)
    )
    out = ev.StepTimedOut(**IDS, ts=150, seen=1, step="a", attempt=1, timeout_ms=20)
    line = machine.fold(_rows(SUBMITTED, STARTED, _scheduled(120), late, out))
    (step,) = line.steps()
    assert (step.status, step.error, step.finished_at) == ("failed", "timeout: no result in time", 150)
    assert (step.cost_nano, line.cost_nano) == (9, 9)  # spent is spent


def test_a_step_that_was_skipped_or_cancelled_says_why() -> None:
    closed = ev.StepCancelled(**IDS, ts=130, seen=1, step="a", attempt=1, reason="b started without it")
    skipped = ev.StepSkipped(**IDS, ts=130, seen=1, step="c", reason="no incoming edge was taken")
    cancelled, left_out = machine.fold(_rows(SUBMITTED, STARTED, _scheduled(120), closed, skipped)).steps()
    assert (cancelled.status, cancelled.reason, cancelled.error) == ("cancelled", "b started without it", "")
    assert (left_out.status, left_out.reason) == ("skipped", "no incoming edge was taken")


def test_schedules_and_what_cannot_be_read_are_shown_but_not_folded() -> None:
    strange = rows.of("AF_EVENTS", SUBJECT, b"?", 2, 1)
    ledger = rows.of("AF_COST", subjects.cost_ledger(ORG, RUN), b'{"type":"cost.settled","ts":1,"cost_nano":5}', 1, 1)
    log = [*_rows(SUBMITTED), strange, ledger]
    answer = machine.reply(RUN, log, event_pages.page_of(log, 100, 10_000, bodies=True, more=False).events)
    assert [event.type for event in answer.events] == ["run.submitted", rows.UNDECODABLE, "cost.settled"]
    assert (answer.status, answer.cost_nano, answer.steps) == ("pending", 0, ())


def test_what_makes_no_sense_in_one_fact_leaves_the_others_readable() -> None:
    found = _rows(SUBMITTED, STARTED, _scheduled(120))
    for number, more in enumerate(
        (
            b'"step.completed","begun":{"step":"b"}',
            b'"child.ended","cost_nano":"x"',
            b'"outcome.resolved","outcome":[]',
        ),
        4,
    ):
        body = b'{"type":%s,"org":"acme","run":"run_1","ts":125,"step":"a","attempt":1}' % more
        found.append(rows.of("AF_EVENTS", SUBJECT, body, number, 125))
    done = ev.StepCompleted(**IDS, ts=130, step="a", attempt=1, worker="w")
    found.append(rows.of("AF_EVENTS", SUBJECT, ev.encode(done), 7, 130))
    (step,) = machine.reply(RUN, found).steps
    assert (step.step, step.status) == ("a", "completed")
