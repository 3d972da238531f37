"""How `workflow get` lists steps: parts after what holds them, and the runs of subworkflows by their ids."""

from __future__ import annotations

from agentctl.display.render import _about, _with_their_parts
from agentflow_sdk import ErrorInfo, Step, StepStatus


def step(key: str, **fields: object) -> Step:
    return Step(step=key, status=StepStatus.COMPLETED, **fields)  # type: ignore[arg-type]


def test_parts_stand_after_the_step_that_holds_them() -> None:
    keys = ["each", "l", "ok", "each[0]", "l@1", "each[1]", "each#2", "each#2[0]", "l@2", "lost[0]"]
    assert [item.step for item in _with_their_parts([step(key) for key in keys])] == [
        "each", "each[0]", "each[1]", "l", "l@1", "l@2", "ok", "each#2", "each#2[0]", "lost[0]",
    ]  # fmt: skip


def test_a_subworkflow_s_run_is_named_however_it_ended() -> None:
    assert _about(step("s", child_run_id="run_x")) == "run run_x"
    failed = step("s", child_run_id="run_x", error=ErrorInfo("E", "no", False))
    assert _about(failed) == "E: no (run run_x)"
