"""A step whose total time is over tells what its last attempt failed of; the trace shows that attempt as it ended."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.events import StepError
from agentflow_common.runs.explain import explain
from agentflow_common.runs.state import RunStatus
from agentflow_common.runs.waiting import Surroundings
from agentflow_trace import machine as trace
from agentflow_trace import rows
from tests.support.definitions import BODY, WORK, child, workflow
from tests.support.run_driver import RunDriver

REFUSED = StepError("ConnectionError", "the bank does not answer")
CAUSE = "the last error was ConnectionError: the bank does not answer"


def run_with_total_timeout(node: dict[str, Any], **fields: Any) -> RunDriver:
    policy = {"total_timeout_ms": 900, "retry": {"max_attempts": 5, "initial_ms": 60_000}}
    return RunDriver(workflow({"id": "a", "policy": policy, **node})).submit(**fields)


def traced(run: RunDriver) -> list[tuple[int, str, str]]:
    """Returns the attempts of `a` as the trace shows them: number, status, error."""
    subject = subjects.out_run(subjects.key_of("o", "r"))
    found = trace.fold(rows.of("AF_EVENTS", subject, ev.encode(event), seq, event.ts) for seq, event in run.log)
    return [(step.attempt, step.status, step.error) for step in found.steps() if step.step == "a"]


def why(run: RunDriver) -> str:
    return explain(run.state, run.definition, Surroundings(now_ms=999)).summary


def test_engine_09_a_total_timeout_between_two_attempts_names_what_the_last_one_failed_of() -> None:
    run = run_with_total_timeout(BODY)
    run.at(500).fails("a", REFUSED)
    run.at(99_000).fires("total:a").check_log()
    assert run.status is RunStatus.FAILED
    assert run.error.type == "timeout"
    assert run.error.message == f"no result within 900 ms, all attempts together; {CAUSE}"
    assert CAUSE in why(run)
    assert traced(run) == [(1, "failed", "ConnectionError: the bank does not answer")], "it did not time out itself"
    assert run.of(ev.StepTimedOut)[0].cause == REFUSED


def test_engine_09_a_total_timeout_within_an_attempt_names_what_the_one_before_failed_of() -> None:
    run = run_with_total_timeout(BODY)
    run.at(500).fails("a", REFUSED)
    run.at(90_000).fires("retry:a:1")
    run.at(99_000).fires("total:a").check_log()
    assert CAUSE in run.error.message
    assert traced(run) == [
        (1, "failed", "ConnectionError: the bank does not answer"),
        (2, "failed", f"timeout: no result in time; {CAUSE}"),
    ]


def test_engine_09_without_an_error_there_is_no_cause() -> None:
    run = run_with_total_timeout(BODY)
    run.at(99_000).fires("total:a").check_log()
    assert run.error.message == "no result within 900 ms, all attempts together"
    assert traced(run) == [(1, "failed", "timeout: no result in time")]


@pytest.mark.parametrize(
    ("node", "part"),
    [
        ({"type": "map", "config": {"over": [1, 2], "body": BODY}}, "a[1]"),
        ({"type": "loop", "config": {"body": BODY, "until": "false", "max_iterations": 3}}, "a@1"),
        ({"type": "function", "config": {**WORK, "parallel": True, "inputs": {"n": [1, 2]}}}, "a[1]"),
    ],
)
def test_engine_09_of_a_step_with_parts_the_cause_is_the_error_of_a_part(node: dict[str, Any], part: str) -> None:
    run = run_with_total_timeout(node).at(500).fails(part, REFUSED)
    run.at(99_000).fires("total:a").check_log()
    assert CAUSE in run.error.message


def test_engine_09_of_a_subworkflow_it_is_what_the_run_before_failed_of() -> None:
    run = run_with_total_timeout({"type": "subworkflow", "config": {"workflow": "child"}}, definitions=child())
    run.at(500).child_ends("a", "failed", error=REFUSED)
    run.at(90_000).fires("retry:a:1").at(99_000).fires("total:a")
    run.at(99_002).child_ends("a", "cancelled")
    assert CAUSE in run.error.message


def test_engine_09_a_missing_heartbeat_reads_as_one_in_the_trace() -> None:
    key = subjects.out_run(subjects.key_of("o", "r"))
    own = {"org": "o", "run": "r", "step": "a", "attempt": 1}
    log: list[Any] = [
        ev.StepScheduled(**own, ts=1, lane="default", kind="function", config={}),
        ev.StepTimedOut(**own, ts=9, timeout_ms=5, bound="heartbeat"),
    ]
    found = trace.fold(rows.of("AF_EVENTS", key, ev.encode(event), seq, event.ts) for seq, event in enumerate(log, 1))
    assert [step.error for step in found.steps()] == ["heartbeat_timeout: no heartbeat in time"]
