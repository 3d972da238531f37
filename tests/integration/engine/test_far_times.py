"""Times that no timer can hold: the run that asks for one fails, and no scheduler stops for it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.durations import TIME_MS_MAX
from agentflow_common.log.timers import TimerState
from agentflow_common.runs.state import RunStatus
from agentflow_scheduler.engine.timers import set_timers

pytestmark = pytest.mark.integration

WAIT = "name: w\ninputs: {at: {type: any}}\ndag: {nodes: [{id: a, type: wait, config: {until: '{{at}}'}}]}\n"


@pytest.mark.parametrize("at", [1e17, 1e20, -1e20, "2999-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"])
async def test_a_wait_until_a_time_that_can_not_be_kept_fails_its_run(engine: Any, at: Any) -> None:
    state = await engine.finished(await engine.submit(WAIT, {"at": at}))
    assert state.status is RunStatus.FAILED
    assert "before the year 2255" in state.error.message
    ended = await engine.finished(await engine.submit(WAIT, {"at": "2001-01-01"}))
    assert ended.status is RunStatus.COMPLETED


async def test_a_timer_beyond_the_servers_count_is_set_and_does_not_fire(engine: Any) -> None:
    key = await engine.submit(WAIT, {"at": TIME_MS_MAX})
    far = [(key, f"far{at}", TimerState("wait", at, "a", 1)) for at in (TIME_MS_MAX + 1, 10**17, 10**20)]
    await set_timers(engine.log, far)
    due = TimerState("wait", time.time_ns() // 1_000_000, "a", 1)
    await set_timers(engine.log, [(key, "due", due)])
    fired = await engine.until(key, ev.TimerFired)
    assert fired.timer == "due"
