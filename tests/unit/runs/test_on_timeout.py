"""A step that takes too long leads to the node that its `on_timeout` names."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.runs import fork as forking
from agentflow_common.runs.state import RunStatus
from tests.support.definitions import edges, function, workflow
from tests.support.run_driver import RunDriver

QUICK = {"timeout_ms": 1000, "on_timeout": "late", "retry": {"max_attempts": 2, "initial_ms": 0}}


def begun(policy: dict[str, Any] | None = None, **more: Any) -> RunDriver:
    a = function("a", policy=policy or QUICK, **more)
    late = function("late", {"why": "a.error.type", "out": "a.output"})
    return RunDriver(workflow(a, function("b"), late, edges=edges("a b"))).submit()


def statuses(run: RunDriver) -> tuple[str | None, ...]:
    return tuple(run.statuses.get(name) for name in ("a", "b", "late"))


def test_it_leads_there_after_the_last_attempt_and_nowhere_else() -> None:
    run = begun().fires("timeout:a:1")
    assert statuses(run) == ("scheduled", None, None)
    run.fires("timeout:a:2")
    assert statuses(run) == ("failed", "skipped", "scheduled")
    assert run.inputs("late") == {"why": "timeout", "out": None}
    run.completes("late", "instead")
    assert (run.status, run.output) == (RunStatus.COMPLETED, {"b": None, "late": "instead"})
    run.check_log()


def test_a_step_that_is_in_time_leads_to_its_other_edges() -> None:
    run = begun().completes("a")
    assert statuses(run) == ("completed", "scheduled", "skipped")


def test_another_failure_fails_the_run() -> None:
    run = begun().fails("a")
    assert (run.status, run.error.type, statuses(run)[2]) == (RunStatus.FAILED, "E", None)


def test_another_failure_that_is_tolerated_leads_to_the_other_edges() -> None:
    run = begun({**QUICK, "on_failure": "continue"}).fails("a")
    assert statuses(run) == ("failed", "scheduled", "skipped")
    run = begun({**QUICK, "on_failure": "continue"}).fires("timeout:a:1").fires("timeout:a:2")
    assert statuses(run) == ("failed", "skipped", "scheduled")


@pytest.mark.parametrize(
    ("policy", "timer"), [({"total_timeout_ms": 9}, "total:a"), ({"heartbeat_ms": 9}, "heartbeat:a:1")]
)
def test_every_limit_counts(policy: dict[str, int], timer: str) -> None:
    run = begun({**policy, "on_timeout": "late", "retry": {"max_attempts": 1}})
    run.tell(ev.StepStarted, step="a", attempt=1, worker="w").fires(timer)
    assert statuses(run) == ("failed", "skipped", "scheduled")


@pytest.mark.parametrize(
    ("node", "timer"),
    [
        ({"type": "signal", "config": {"signal": "s", "timeout_ms": 9}}, "expire:a"),
        ({"type": "approval", "config": {"expires_ms": 9}}, "expire:a"),
        ({"type": "map", "config": {"over": [1, 2], "body": {"type": "function", "config": {"function_name": "f"}}},
          "policy": {"total_timeout_ms": 9}}, "total:a"),
        ({"type": "loop", "config": {"until": "false", "max_iterations": 9,
                                     "body": {"type": "function", "config": {"function_name": "f"}}},
          "policy": {"total_timeout_ms": 9}}, "total:a"),
    ],
)  # fmt: skip
def test_every_type_of_node_that_may_take_too_long(node: dict[str, Any], timer: str) -> None:
    node = {"id": "a", **node, "policy": {**node.get("policy", {}), "on_timeout": "late"}}
    run = RunDriver(workflow(node, function("b"), function("late"), edges=edges("a b"))).submit().fires(timer)
    assert statuses(run) == ("failed", "skipped", "scheduled")
    assert run.completes("late").check_log().status is RunStatus.COMPLETED


def test_a_node_behind_several_edges_still_runs() -> None:
    a = function("a", policy=QUICK)
    run = RunDriver(workflow(a, function("b"), function("late"), edges=[*edges("a b"), *edges("late b")])).submit()
    run.fires("timeout:a:1").fires("timeout:a:2").completes("late")
    assert statuses(run) == ("failed", "scheduled", "completed")


def test_a_condition_of_an_edge_counts_too() -> None:
    a = function("a", policy=QUICK)
    to = edges("a b", condition="a.output.n > 1 || a.output.n < 0")
    made = workflow(a, function("b"), function("late"), edges=to)
    assert statuses(RunDriver(made).submit().completes("a", {"n": 2})) == ("completed", "scheduled", "skipped")
    assert statuses(RunDriver(made).submit().completes("a", {"n": 1})) == ("completed", "skipped", "skipped")


def test_after_any_crash_it_is_the_same() -> None:
    whole = begun().fires("timeout:a:1").fires("timeout:a:2")
    for keep in range(len(whole.made) + 1):
        run = begun().fires("timeout:a:1").fires("timeout:a:2").crash(keep).decide()
        assert statuses(run) == ("failed", "skipped", "scheduled")
        assert run.check_log().completes("late").status is RunStatus.COMPLETED


def test_a_retry_keeps_the_path_that_the_run_took() -> None:
    failed = begun().fires("timeout:a:1").fires("timeout:a:2").fails("late", StepError("E", "no", retryable=False))
    assert failed.status is RunStatus.FAILED
    seed = forking.retry(failed.state, failed.definition, forking.Changes())
    assert {key: str(step.status) for key, step in seed.steps.items()} == {"a": "failed", "b": "skipped"}
    again = RunDriver(failed.definition)
    again.submit(seed=Payload(value=forking.encoded_steps(seed)), position=seed.position)
    assert again.offered == ["late"]
    assert again.completes("late").status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": {"timeout_ms": 1, "on_timeout": "lat"}}, "there is no node 'lat'"),
        ({"policy": {"timeout_ms": 1, "on_timeout": "a"}}, "'a' is the node itself"),
        ({"policy": {"timeout_ms": 1, "on_timeout": "b"}}, "an edge leads from 'a' to 'b' in any case"),
        ({"policy": {"on_timeout": "late"}}, "nothing limits the time of 'a'"),
        ({"policy": {"timeout_ms": 1, "on_timeout": "first"}}, "the nodes form a cycle: first -> a -> first"),
    ],
)
def test_a_mistake_is_named(change: dict[str, Any], message: str) -> None:
    nodes = [function("first"), {**function("a", depends_on=["first"]), **change}, function("b"), function("late")]
    with pytest.raises(InvalidError) as caught:
        parse_dict(workflow(*nodes, edges=edges("a b")))
    assert message in [problem.message for problem in caught.value.problems]


def test_a_step_can_t_lead_to_a_node_at_the_end_of_the_run() -> None:
    late = {"policy": {"timeout_ms": 1, "on_timeout": "late"}}
    with pytest.raises(InvalidError) as caught:
        parse_dict(workflow({**function("a"), **late}, {**function("late"), "finally": True}, edges=[]))
    message = "'late' runs when the run ends, and 'a' does not"
    assert (message, "name a node that has the same `finally`") in [(p.message, p.fix) for p in caught.value.problems]


def test_nodes_at_the_end_of_the_run_lead_to_each_other() -> None:
    own = {"finally": True, "policy": {"timeout_ms": 1000, "on_timeout": "late", "retry": {"max_attempts": 1}}}
    run = RunDriver(workflow(function("a"), {**function("z"), **own}, {**function("late"), "finally": True}, edges=[]))
    run.submit().completes("a").fires("timeout:z:1")
    assert run.statuses == {"a": "completed", "z": "failed", "late": "scheduled"}
    assert run.completes("late").status is RunStatus.COMPLETED
