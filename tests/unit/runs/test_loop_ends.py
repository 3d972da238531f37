"""How a loop ends in the log: by a failed iteration, or by its bound."""

from __future__ import annotations

from agentflow_common import events as ev
from agentflow_common.events import Payload
from tests.support.definitions import BODY, Node, workflow
from tests.support.run_driver import RunDriver


def _loop() -> Node:
    return {
        "id": "lp",
        "type": "loop",
        "config": {"until": "false", "max_iterations": 2, "on_max": "fail", "body": BODY},
    }


def test_a_loop_whose_iteration_failed_has_no_output_in_the_log() -> None:
    run = RunDriver(workflow(_loop())).submit()
    run.completes("lp@1", 1).fails("lp@2")
    (resolved,) = run.of(ev.StepResolved)
    assert (resolved.step, resolved.status) == ("lp", "failed")
    assert b'"output"' not in ev.encode(resolved)


def test_a_loop_that_reached_its_bound_keeps_its_last_output() -> None:
    run = RunDriver(workflow(_loop())).submit()
    run.completes("lp@1", 1).completes("lp@2", 2)
    (resolved,) = run.of(ev.StepResolved)
    assert (resolved.status, resolved.output) == ("failed", Payload(value=2))
    assert resolved.error is not None
    assert resolved.error.type == "max_iterations"
