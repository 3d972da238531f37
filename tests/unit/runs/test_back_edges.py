"""Back edges: what the next visits of a loop's nodes wait for, in whatever order the steps before are looked at."""

from __future__ import annotations

import pytest

from agentflow_common import events as ev
from agentflow_common.events import BegunStep, Payload
from agentflow_common.runs import fork as forking
from agentflow_common.runs.fork import Changes
from agentflow_common.runs.state import RunStatus
from tests.support.definitions import edges, function, workflow
from tests.support.events import base
from tests.support.run_driver import RunDriver

AGAIN = {"condition": "x.output", "max_iterations": 3}
ONCE_MORE = edges("s s", condition="s.output", max_iterations=1)
AFTER_STEP = workflow(*map(function, "sx"), edges=[*edges("s x"), *edges("x x", **AGAIN)])
AFTER_LOOP = workflow(*map(function, "sx"), edges=[*edges("s x"), *ONCE_MORE, *edges("x x", **AGAIN)])
AROUND_STEP = workflow(*map(function, "sxz"), edges=[*edges("s x", "x z"), *edges("x s", **AGAIN)])
AROUND_LOOP = workflow(*map(function, "sxz"), edges=[*edges("s x", "x z"), *ONCE_MORE, *edges("x s", **AGAIN)])
LOOPS = {"after_step": AFTER_STEP, "after_loop": AFTER_LOOP, "around_step": AROUND_STEP, "around_loop": AROUND_LOOP}


def goes_on(run: RunDriver) -> None:
    """Somebody continues the run from each stop, and every step completes without an output."""
    while run.status is not RunStatus.COMPLETED:
        if run.state.stops is not None and run.state.stops.before:
            run.tell(ev.RunContinueRequested, stop=run.state.stops.number)
        else:
            run.completes(run.open_tasks()[0].step)
    run.check_log()


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_repeats_if_its_last_node_is_looked_at_first_after_a_crash(name: str) -> None:
    run = RunDriver(LOOPS[name]).submit().completes("s", True)
    if name.endswith("loop"):
        run.completes("s#2")
    run.tell(ev.RunBreakRequested, at=("x",)).crash()
    assert next(iter(run.run.dirty)) == "s"
    run.completes("x", True)  # a step with a breakpoint is looked at before the others
    (reset,) = [event for event in run.of(ev.StepsReset) if event.edge.startswith("x->")]
    assert "x" in reset.steps
    goes_on(run)
    assert [key for key in run.offered if key.startswith("x")] == ["x", "x#2"]


def test_a_loop_repeats_if_a_worker_went_on_to_its_last_node() -> None:
    run = RunDriver(AFTER_STEP).submit()
    begun = BegunStep(step="x", kind="function")
    for fact in (
        ev.StepCompleted(**base(run.state.run), step="s", attempt=1, begun=begun),
        ev.RunBreakRequested(**base(run.state.run), at=("x",)),
        ev.StepCompleted(**base(run.state.run), step="x", attempt=1, output=Payload(value=True)),
    ):
        run.apply(fact)
    goes_on(run.decide())
    assert "x#2" in run.offered


def test_a_loop_repeats_in_a_fork_whose_inputs_are_others() -> None:
    """The kept visits of a loop stand before the steps that the loop has waited for."""
    again = {"condition": "inputs.again", "max_iterations": 1}
    text = workflow(
        *map(function, "sxy"),
        edges=[*edges("s x", "x y"), *edges("x x", **again), *edges("y x", condition="y.output", max_iterations=1)],
        inputs={"again": {"type": "boolean"}},
    )
    run = RunDriver(text).submit({"again": False}).completes("s").completes("x")
    before = run.refolded()
    run.completes("y")
    seed = forking.fork(run.state, before, run.definition, "y", Changes(inputs={"again": True}))
    assert list(seed.steps) == ["x", "s"]
    fork = RunDriver(text).submit(
        {"again": True}, seed=Payload(value=forking.encoded_steps(seed)), position=seed.position
    )
    assert fork.offered == ["x#2"]
    goes_on(fork)
    assert fork.offered == ["x#2", "y"]
