"""A step whose total time is over tells what its last attempt failed of; the trace shows that attempt as it ended."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.model import load_trusted
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload, StepError
from agentflow_common.runs.explain import Surroundings, explain
from agentflow_common.runs.fold import fold, new_state
from agentflow_common.runs.state import RunState, RunStatus
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from agentflow_trace import machine as trace
from agentflow_trace import rows
from tests.support.deciding import decide

REFUSED = StepError("ConnectionError", "the bank does not answer")
WORK = {"type": "function", "config": {"function_name": "f"}}
CAUSE = "the last error was ConnectionError: the bank does not answer"


class Driven:
    """One run, and its log."""

    def __init__(self, node: dict[str, Any], definitions: dict[str, Any] | None = None) -> None:
        policy = {"total_timeout_ms": 900, "retry": {"max_attempts": 5, "initial_ms": 60_000}}
        raw = parse_dict({"name": "w", "dag": {"nodes": [{"id": "a", "policy": policy, **node}]}}).canonical()
        first = ev.RunSubmitted(org="o", run="r", ts=1, workflow="w", version=1, definition=raw,
                                inputs=Payload(value={}), definitions=definitions or {})  # fmt: skip
        self.log: list[tuple[int, Any]] = []
        self.run = Run(new_state(first, self.append(first)), Plans().get(raw))
        self.decide(1)

    def append(self, event: Any) -> int:
        self.log.append((len(self.log) + 1, ev.decode(ev.encode(event))))
        return len(self.log)

    def decide(self, now: int) -> None:
        for decision in decide(self.run, now, {}).decisions:
            self.run.state.out_seq = self.append(decision)

    def tell(self, event_type: type[Any], ts: int, /, **fields: Any) -> None:
        fact = event_type(org="o", run="r", ts=ts, **fields)
        self.run.apply(fact, self.append(fact))
        self.decide(ts)

    def end_of_time(self) -> RunState:
        self.tell(ev.TimerFired, 99_000, timer="total:a", kind="step_total", step="a")
        state = fold(self.log)
        assert state is not None
        assert state.hash() == self.run.state.hash()
        return state

    def traced(self) -> list[tuple[int, str, str]]:
        key = subjects.key_of("o", "r")
        subject = subjects.out_run(key)
        found = trace.fold(rows.of("AF_EVENTS", subject, ev.encode(event), seq, event.ts) for seq, event in self.log)
        return [(step.attempt, step.status, step.error) for step in found.steps() if step.step == "a"]

    def why(self) -> str:
        state = self.run.state
        return explain(state, load_trusted(state.definition), Surroundings(now_ms=999)).summary


def test_engine_09_a_total_timeout_between_two_attempts_names_what_the_last_one_failed_of() -> None:
    run = Driven(WORK)
    run.tell(ev.StepFailed, 500, step="a", attempt=1, error=REFUSED)
    state = run.end_of_time()
    assert state.status is RunStatus.FAILED
    assert state.error is not None
    assert state.error.type == "timeout"
    assert state.error.message == f"no result within 900 ms, all attempts together; {CAUSE}"
    assert CAUSE in run.why()
    assert run.traced() == [(1, "failed", "ConnectionError: the bank does not answer")], "it did not time out itself"
    told = next(e for _, e in run.log if isinstance(e, ev.StepTimedOut))
    assert told.cause == REFUSED


def test_engine_09_a_total_timeout_within_an_attempt_names_what_the_one_before_failed_of() -> None:
    run = Driven(WORK)
    run.tell(ev.StepFailed, 500, step="a", attempt=1, error=REFUSED)
    run.tell(ev.TimerFired, 90_000, timer="retry:a:1", kind="retry", step="a", attempt=1)
    state = run.end_of_time()
    assert state.error is not None
    assert CAUSE in state.error.message
    assert run.traced() == [
        (1, "failed", "ConnectionError: the bank does not answer"),
        (2, "failed", f"timeout: no result in time; {CAUSE}"),
    ]


def test_engine_09_without_an_error_there_is_no_cause() -> None:
    run = Driven(WORK)
    state = run.end_of_time()
    assert state.error is not None
    assert state.error.message == "no result within 900 ms, all attempts together"
    assert run.traced() == [(1, "failed", "timeout: no result in time")]


@pytest.mark.parametrize(
    ("node", "part"),
    [
        ({"type": "map", "config": {"over": [1, 2], "body": WORK}}, "a[1]"),
        ({"type": "loop", "config": {"body": WORK, "until": "false", "max_iterations": 3}}, "a@1"),
        ({"type": "function", "config": {"function_name": "f", "parallel": True, "inputs": {"n": [1, 2]}}}, "a[1]"),
    ],
)
def test_engine_09_of_a_step_with_parts_the_cause_is_the_error_of_a_part(node: dict[str, Any], part: str) -> None:
    run = Driven(node)
    run.tell(ev.StepFailed, 500, step=part, attempt=1, error=REFUSED)
    state = run.end_of_time()
    assert state.error is not None
    assert CAUSE in state.error.message


def test_engine_09_of_a_subworkflow_it_is_what_the_run_before_failed_of() -> None:
    child = parse_dict({"name": "child", "dag": {"nodes": [{"id": "x", **WORK}]}}).canonical()
    run = Driven({"type": "subworkflow", "config": {"workflow": "child"}}, {"child": child})
    first = run.run.state.steps["a"].child
    run.tell(ev.ChildEnded, 500, step="a", attempt=1, child=first, status="failed", error=REFUSED)
    run.tell(ev.TimerFired, 90_000, timer="retry:a:1", kind="retry", step="a", attempt=1)
    run.tell(ev.TimerFired, 99_000, timer="total:a", kind="step_total", step="a")
    second = run.run.state.steps["a"].child
    run.tell(ev.ChildEnded, 99_002, step="a", attempt=2, child=second, status="cancelled")
    assert run.run.state.error is not None
    assert CAUSE in run.run.state.error.message


def test_engine_09_a_missing_heartbeat_reads_as_one_in_the_trace() -> None:
    key = subjects.out_run(subjects.key_of("o", "r"))
    own = {"org": "o", "run": "r", "step": "a", "attempt": 1}
    log: list[Any] = [
        ev.StepScheduled(**own, ts=1, lane="default", kind="function", config={}),
        ev.StepTimedOut(**own, ts=9, timeout_ms=5, bound="heartbeat"),
    ]
    found = trace.fold(rows.of("AF_EVENTS", key, ev.encode(event), seq, event.ts) for seq, event in enumerate(log, 1))
    assert [step.error for step in found.steps()] == ["heartbeat_timeout: no heartbeat in time"]
