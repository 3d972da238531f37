"""A run whose definition can't be planned ends, and leaves nothing behind that others wait for."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.lanes.fold import key_of_lane
from agentflow_common.log.event_log import EventLog
from agentflow_common.log.streams import ensure_streams
from agentflow_common.runs.state import StepState, StepStatus
from agentflow_common.runtime.service import connect
from agentflow_scheduler.shards.recovery import end_unplannable
from tests.support.definitions import function, workflow
from tests.support.run_driver import RunDriver

pytestmark = pytest.mark.integration

DEFINITION = workflow(
    function("a", lane="{{'keyed'}}"), function("b"), run_lane="acme", lock={"key": "acme", "nodes": ["b"]}
)


def holding() -> RunDriver:
    """A run with a slot of its run lane, one of a keyed lane, and a lock."""
    run = RunDriver(DEFINITION).submit()
    run.tell(ev.RunSlotGranted, lane="run:o:acme")
    run.tell(ev.RunSlotGranted, lane="lock:o:acme")
    run.tell(ev.SlotGranted, step="a", attempt=1, lane="keyed")
    assert run.offered == ["b", "a"]
    run.state.out_seq = 0  # the real log has nothing of it
    return run


@pytest.mark.parametrize("more", [0, 1_500], ids=["few", "more than a batch holds"])
async def test_it_gives_back_its_slots_and_locks(nats_url: str, more: int) -> None:
    run = holding()
    for number in range(more):
        run.state.steps[f"m[{number}]"] = StepState(StepStatus.QUEUED, 1, lane="many")
    nc = await connect(nats_url, "test")
    await ensure_streams(nc, 1)
    log = EventLog(nc)
    await log.start()
    key = subjects.key_of("o", "r")
    await end_unplannable(log, key, run.state, ValueError("no plan"), 9)
    stored: dict[str, Any] = {
        lane: [ev.decode(message.data) for message in await log.read(subjects.run_in(key_of_lane(lane)))]
        for lane in ("run:o:acme", "lock:o:acme", "keyed", "many")
    }
    own = [(event.holder_run, event.step, event.attempt) for event in stored["keyed"]]
    assert own == [("r", "a", 1)]
    for lane, count in (("run:o:acme", 1), ("lock:o:acme", 1), ("many", more)):
        assert [type(event) for event in stored[lane]] == [ev.LaneReleased] * count
    assert not {event.step for event in stored["many"]} ^ {f"m[{number}]" for number in range(more)}
    await nc.close()
