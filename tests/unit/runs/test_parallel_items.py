"""The items of a parallel step: an input that is a list, or the only object with one list in it."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from tests.support.definitions import ONCE, function, in_order
from tests.support.run_driver import RunDriver


def play(output: Any, inputs: dict[str, Any]) -> RunDriver:
    each = function("each", inputs, config={"parallel": True}, policy=ONCE)
    return RunDriver(in_order(function("split"), each)).submit({}).plays(output).check_log()


def widths(run: RunDriver) -> list[int]:
    return [event.width for event in run.of(ev.StepExpanded)]


@pytest.mark.parametrize(
    ("output", "inputs", "items"),
    [
        ([1, 2], {"n": "split.output"}, [1, 2]),
        ({"chunks": [1, 2], "count": 2}, {"n": "split.output"}, [1, 2]),
        ({"chunks": [1, 2], "count": 2}, {"n": "split.output", "of": "split.output.count"}, [1, 2]),
        ({"chunks": [1, 2], "of": {"a": [3]}}, {"n": "split.output.chunks", "of": "split.output.of"}, [1, 2]),
    ],
)
def test_the_list_is_found(output: Any, inputs: dict[str, Any], items: list[int]) -> None:
    run = play(output, inputs)
    assert widths(run) == [len(items)]
    assert [run.inputs(f"each[{number}]")["n"] for number in range(len(items))] == items


@pytest.mark.parametrize(
    ("output", "found"),
    [({"a": [1], "b": [2]}, "none"), ({"a": 1}, "none"), ("text", "none")],
)
def test_the_step_is_undecidable_if_no_list_or_several_are_found(output: Any, found: str) -> None:
    run = play(output, {"n": "split.output"})
    assert widths(run) == []
    error = run.state.steps["each"].error
    assert error is not None
    assert error.type == "undecidable"
    assert f"needs one input that is a list (found: {found}); set `for_each`" in error.message
