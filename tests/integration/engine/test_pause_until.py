"""Pauses that end by themselves, with a real scheduler and worker: of a run, a workflow and a lane."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.lanes.controls import control_key
from agentflow_common.log.event_log import Entry
from agentflow_common.runs.state import RunStatus
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.engine.decider import Decider
from tests.support.waiting import until

pytestmark = pytest.mark.integration
TWO = """
name: {name}
dag:
  nodes:
    - {{id: wait, type: wait, config: {{duration: 200ms}}}}
    - {{id: last, depends_on: [wait], type: function, {more}config: {{function_name: t.sleep, inputs: {{seconds: 0}}}}}}
"""


def soon_ms() -> int:
    return time.time_ns() // 1_000_000 + 1500


async def last_began(engine: Any, run: Any) -> int:
    """When the step after the pause was offered."""
    assert (await engine.finished(run)).status is RunStatus.COMPLETED
    return next(e.ts for _, e in await engine.events(run) if isinstance(e, ev.StepScheduled) and e.step == "last")


async def test_a_run_goes_on_by_itself(engine: Any) -> None:
    run = await engine.submit(TWO.format(name="w", more=""), {})
    end = soon_ms()
    pause = ev.RunPauseRequested(org=run.org, run=run.name, ts=1, until=end)
    await engine.log.append(Entry(subjects.run_in(run), ev.encode(pause)))
    assert await last_began(engine, run) >= end
    assert [e.until for _, e in await engine.events(run) if isinstance(e, ev.RunPaused)] == [end]
    assert sum(isinstance(e, ev.TimerFired) and e.kind == "pause" for _, e in await engine.events(run)) == 1


async def test_a_workflow_goes_on_by_itself_and_a_run_that_came_meanwhile(engine: Any) -> None:
    bucket = await engine.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
    end = soon_ms()
    await bucket.put("workflow.test.slept", msgspec.json.encode({"paused": True, "paused_until": end}))
    runs = [await engine.submit(TWO.format(name="slept", more=""), {}) for _ in range(2)]
    for run in runs:
        assert await last_began(engine, run) >= end


async def test_a_pause_that_ends_in_the_middle_of_a_turn_lets_the_run_go_on(
    engine: Any, heard: Callable[[str], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run was decided while its workflow was paused, and its decisions are packed when the pause is over."""
    bucket = await engine.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
    real = Decider._decide_one
    held: list[EntityKey] = []

    async def decide_one(self: Any, key: EntityKey, entity: Any, *rest: Any) -> Any:
        found = await real(self, key, entity, *rest)
        if found[0].held:
            held.append(key)
            await bucket.put("workflow.test.cut", b'{"paused": false}')
            await until(lambda: not self._controls.is_paused("test", "cut"))
        return found

    monkeypatch.setattr(Decider, "_decide_one", decide_one)
    await bucket.put("workflow.test.cut", b'{"paused": true}')
    await heard("workflow.test.cut")
    run = await engine.submit(TWO.format(name="cut", more=""), {})
    assert (await engine.finished(run)).status is RunStatus.COMPLETED
    assert held == [run]


async def test_a_lane_goes_on_by_itself(engine: Any) -> None:
    bucket = await engine.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
    end = soon_ms()
    setting = {"paused": True, "paused_until": end}
    await bucket.put(control_key("test-until"), msgspec.json.encode(setting))
    run = await engine.submit(TWO.format(name="w", more="lane: '{{org}}-until', "), {})
    assert await last_began(engine, run) >= end
