"""A crash in the middle of a cancel with a grace period: what is missing is decided again."""

from __future__ import annotations

from typing import Any

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.runs.fold import fold, new_state
from agentflow_common.runs.state import StepStatus
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from tests.support.deciding import decide

WORK = {"function_name": "f"}


def test_a_crash_after_the_first_word_of_a_graceful_cancel_leaves_nobody_untold() -> None:
    nodes: list[dict[str, Any]] = [
        {"id": "active", "type": "function", "config": WORK},
        {"id": "queued", "type": "function", "config": WORK, "lane": "{{org}}-lane"},
        {"id": "sub", "type": "subworkflow", "config": {"workflow": "child"}},
    ]
    raw = parse_dict({"name": "w", "dag": {"nodes": nodes, "edges": []}}).canonical()
    child = parse_dict({"name": "child", "dag": {"nodes": nodes[:1], "edges": []}}).canonical()
    log: list[tuple[int, Any]] = []

    def append(event: Any) -> int:
        log.append((len(log) + 1, event))
        return len(log)

    submitted = ev.RunSubmitted(org="o", run="r", ts=1, workflow="w", version=1, definition=raw,
                                definitions={"child": child})  # fmt: skip
    run = Run(new_state(submitted, append(submitted)), Plans().get(raw))
    for decision in decide(run, 10, {}).decisions:
        run.state.out_seq = append(decision)
    cancel = ev.RunCancelRequested(org="o", run="r", ts=20, grace_ms=500)
    run.apply(cancel, append(cancel))
    whole = decide(run, 20, {})
    assert isinstance(whole.decisions[0], ev.RunCancelling)
    append(whole.decisions[0])  # the rest, and what it sends, is lost
    refolded = fold(log)
    assert refolded is not None
    again = Run(refolded, Plans().get(raw))
    out = decide(again, 21, {})
    assert [type(d) for d in out.decisions] == [type(d) for d in whole.decisions[1:]]
    assert sent(out) == sent(whole)
    assert refolded.steps["queued"].status is StepStatus.CANCELLED
    assert refolded.steps["active"].status is StepStatus.SCHEDULED
    assert not decide(again, 22, {}).sends, "once is enough while it is in memory"


def test_asked_again_the_grace_may_become_shorter_and_never_longer() -> None:
    nodes = [{"id": "active", "type": "function", "config": WORK}]
    raw = parse_dict({"name": "w", "dag": {"nodes": nodes, "edges": []}}).canonical()
    run = Run(
        new_state(ev.RunSubmitted(org="o", run="r", ts=1, workflow="w", version=1, definition=raw), 1), Plans().get(raw)
    )
    decide(run, 10, {})

    def cancel(now_ms: int, grace_ms: int) -> list[Any]:
        run.apply(ev.RunCancelRequested(org="o", run="r", ts=now_ms, grace_ms=grace_ms), now_ms)
        return decide(run, now_ms, {}).decisions

    assert [d.fire_at for d in cancel(100, 30_000) if isinstance(d, ev.TimerSet)] == [30_100]
    assert [d.fire_at for d in cancel(200, 5_000) if isinstance(d, ev.TimerSet)] == [5_200]
    assert cancel(300, 60_000) == []
    assert [ev.event_type(d) for d in cancel(400, 0)] == ["step.cancelled", "run.cancelled"]


def sent(out: RunDecisions) -> list[str]:
    return [ev.event_type(event) for _, event in out.sends]
