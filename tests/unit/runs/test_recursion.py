"""A workflow that starts itself ends at the bound of the setting."""

from __future__ import annotations

from agentflow_common import events as ev
from agentflow_common.runs.state import RunStatus
from tests.support.definitions import subworkflow, workflow
from tests.support.run_driver import RunDriver

ITSELF = workflow(subworkflow("again"), name="child")


def deep(depth_max: int) -> list[RunDriver]:
    """The runs of a workflow that starts itself, the outermost first."""
    top = RunDriver(ITSELF, depth_max=depth_max)
    runs = [top.submit(definitions={"child": top.definition.canonical()})]
    while runs[-1].sends and isinstance(runs[-1].sends[0][1], ev.RunSubmitted):
        runs.append(RunDriver(ITSELF, depth_max=depth_max).begin(runs[-1].sends[0][1]))
    return runs


def test_the_run_at_the_bound_fails_and_names_the_setting() -> None:
    runs = deep(3)
    assert [run.state.depth for run in runs] == [0, 1, 2, 3]
    assert [run.status for run in runs] == [RunStatus.WAITING] * 3 + [RunStatus.FAILED]
    assert runs[-1].error.type == "undecidable"
    assert runs[-1].error.message == (
        "again: subworkflows are nested more than 3 deep, the limit of SUBWORKFLOW_DEPTH_MAX: let a recursion end "
        "before that, or raise the setting for the gateway and the schedulers"
    )


def test_by_default_eight_levels_lie_below_the_submitted_run() -> None:
    assert len(deep(8)) == 9


def test_the_run_above_is_told_of_the_failure() -> None:
    above, below = deep(1)
    (_, ended) = below.sends[-1]
    assert isinstance(ended, ev.ChildEnded)
    above.add(ended)
    assert above.status is RunStatus.FAILED
    assert "SUBWORKFLOW_DEPTH_MAX" in above.error.message
