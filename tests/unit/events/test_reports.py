"""A report that stands for several steps: each step's own report, and that of any other event."""

from __future__ import annotations

from agentflow_common import events as ev

FETCH = ev.DoneStep(
    "fetch", ev.BegunStep("clean", "function"), 110, 3, ev.Payload({"body": "a"}), 101, 8.5, {"PHONE_NUMBER": 1}
)
CLEAN = ev.DoneStep("clean", ev.BegunStep("count", "tool"), 120, output=ev.Payload(value="b"), started_at=111)


def together(*before: ev.DoneStep) -> ev.StepCompleted:
    return ev.StepCompleted(
        org="o", run="r", ts=130, trace="t", step="count", attempt=1, output=ev.Payload(2), worker="w",
        started_at=121, duration_ms=0.5, redactions={"IBAN_CODE": 2}, begun=ev.BegunStep("rank", "tool"), before=before,
    )  # fmt: skip


def test_each_step_has_its_own_report_oldest_first() -> None:
    first, second, third = together(FETCH, CLEAN).reports()
    assert first == ev.StepCompleted(
        org="o", run="r", ts=110, trace="t", step="fetch", attempt=3, output=ev.Payload({"body": "a"}), worker="w",
        started_at=101, duration_ms=8.5, redactions={"PHONE_NUMBER": 1}, begun=ev.BegunStep("clean", "function"),
    )  # fmt: skip
    assert second == ev.StepCompleted(
        org="o", run="r", ts=120, trace="t", step="clean", attempt=1, output=ev.Payload("b"), worker="w",
        started_at=111, begun=ev.BegunStep("count", "tool"),
    )  # fmt: skip
    assert third == together(), "the newest step's report has what the event says itself"


def test_a_report_of_one_step_is_itself() -> None:
    alone = together()
    assert list(alone.reports()) == [alone]
    assert alone.reports()[0] is alone


def test_any_event_stands_for_itself_unless_it_reports_several_steps() -> None:
    started = ev.StepStarted(org="o", run="r", ts=1, step="a", attempt=1, worker="w")
    assert list(ev.single(started)) == [started]
    assert [ev.step_of(one) for one in ev.single(together(FETCH, CLEAN))] == ["fetch", "clean", "count"]


def test_what_is_not_said_takes_no_room_in_the_log() -> None:
    assert b"before" not in ev.encode(together())
    short = ev.encode(together(ev.DoneStep("clean", ev.BegunStep("count", "tool"), 120)))
    assert b'"before":[{"step":"clean","begun":{"step":"count","kind":"tool"},"ts":120}]' in short
    assert ev.decode(ev.encode(together(FETCH, CLEAN))) == together(FETCH, CLEAN)
