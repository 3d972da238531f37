"""The gates of the engine's tests: what one test opens is closed for the next one in the same process."""

from __future__ import annotations

import pytest

from agentflow_common import events as ev
from agentflow_common.runs.state import RunStatus
from tests.support.engine import EngineUnderTest, loaded

pytestmark = pytest.mark.integration

WAITS = "name: w\ndag:\n  nodes: [{id: s, type: function, config: {function_name: t.gate, inputs: {name: shared}}}]\n"


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_a_gate_is_closed_when_a_test_begins(engine: EngineUnderTest, turn: str) -> None:
    key = await engine.submit(WAITS)
    await engine.until(key, ev.StepStarted, timeout_s=20)  # an open gate lets the step end before that
    loaded().GATES["shared"].set()
    assert (await engine.finished(key)).status is RunStatus.COMPLETED, turn
