"""A crash in the middle of a cancel with a grace period: what is missing is decided again."""

from __future__ import annotations

from agentflow_common import events as ev
from agentflow_common.runs.state import StepStatus
from tests.support.definitions import child, function, subworkflow, workflow
from tests.support.run_driver import RunDriver


def test_a_crash_after_the_first_word_of_a_graceful_cancel_leaves_nobody_untold() -> None:
    definition = workflow(function("active"), function("queued", lane="{{org}}-lane"), subworkflow("sub"))
    run = RunDriver(definition).submit(definitions=child())
    run.at(20).cancels(grace_ms=500)
    whole, sent = run.made, [ev.event_type(event) for _, event in run.sent]
    assert isinstance(whole[0], ev.RunCancelling)
    run.crash(keep=1).at(21).decide()  # the rest, and what it sends, is lost
    assert [type(decision) for decision in run.made] == [type(decision) for decision in whole[1:]]
    assert [ev.event_type(event) for _, event in run.sent] == sent
    assert run.state.steps["queued"].status is StepStatus.CANCELLED
    assert run.state.steps["active"].status is StepStatus.SCHEDULED
    assert not run.at(22).decide().out.sends, "once is enough while it is in memory"


def test_asked_again_the_grace_may_become_shorter_and_never_longer() -> None:
    run = RunDriver(workflow(function("active"))).submit()

    def fire_times() -> list[int]:
        return [decision.fire_at for decision in run.made if isinstance(decision, ev.TimerSet)]

    run.at(100).cancels(grace_ms=30_000)
    assert fire_times() == [30_100]
    run.at(200).cancels(grace_ms=5_000)
    assert fire_times() == [5_200]
    assert run.at(300).cancels(grace_ms=60_000).made == []
    run.at(400).cancels(grace_ms=0)
    assert [ev.event_type(decision) for decision in run.made] == ["step.cancelled", "run.cancelled"]
