"""Values that are nested as deep as a protobuf message can hold, and deeper."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow.v1 import workflow_pb2 as pb
from agentflow_common.runs.state import MARKER, holds_marker, marker_place
from agentflow_gateway.api import convert as gateway
from agentflow_sdk.convert import json_values as sdk
from agentflow_sdk.errors import InvalidArgumentError


def nested(kinds: str, depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = {"a": value} if kinds[level % len(kinds)] == "o" else [value]
    return value


@pytest.mark.parametrize("kinds", ["o", "l", "ol", "ool"])
def test_whatever_a_step_gave_can_be_shown(kinds: str) -> None:
    for depth in (1, 28, 30, 33, 45, 50, 200):
        value = nested(kinds, depth)
        event = pb.WatchRunResponse(event=pb.RunEvent())
        gateway.set_struct(event.event.body, {"output": {"value": value}})
        pb.WatchRunResponse.FromString(event.SerializeToString())
        answer = pb.GetRunResponse()
        gateway.set_value(answer.run.steps.add().output, value)
        shown = pb.GetRunResponse.FromString(answer.SerializeToString()).run.steps[0].output
        assert ("$truncated" in str(shown)) is (depth > 45) or 30 < depth < 50, depth


@pytest.mark.parametrize(("kinds", "deepest"), [("o", 30), ("l", 45)])
def test_what_is_too_deep_to_be_sent_is_refused_with_its_place(kinds: str, deepest: int) -> None:
    request = pb.SubmitWorkflowRequest(inputs=sdk.to_struct({"x": nested(kinds, deepest)}, "inputs"))
    pb.SubmitWorkflowRequest.FromString(request.SerializeToString())
    with pytest.raises(InvalidArgumentError, match="nested deeper than 30 objects or 45 lists"):
        sdk.to_struct({"x": nested(kinds, deepest + 1)}, "inputs")


def test_engine_13_the_reserved_key_is_found_however_deep_it_is() -> None:
    value = {"first": [1], "deep": nested("ol", 5_000)}
    assert not holds_marker(value)
    assert marker_place(value, "x") == ""
    value["list"] = [1, {MARKER: 1}, {MARKER: 2}]
    assert holds_marker(value)
    assert marker_place(value, "x") == "x.list[1]"
