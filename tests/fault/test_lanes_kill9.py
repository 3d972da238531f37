"""kill -9 of scheduler and worker while 200 runs queue for 5 keyed lanes: never more at a time than the limit, no slot
is lost, and everybody is served."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nats
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_dict
from agentflow_common.lanes.fold import LaneState, key_of_lane
from agentflow_common.log.event_log import EventLog
from tests.support.lanes import folded
from tests.support.waiting import until

from .killing import Processes, drive, lane_processes, submit

pytestmark = [pytest.mark.integration, pytest.mark.fault]

RUNS = 200
KEYS = 5
LIMIT = 2
KILLS = ("worker", "scheduler", "worker", "scheduler")


@pytest.fixture
def processes(tmp_path: Path, nats_url: str) -> Iterator[Processes]:
    with lane_processes(tmp_path, nats_url) as started:
        yield started


def definition() -> dict[str, Any]:
    node = {
        "id": "hold",
        "type": "function",
        "lane": "{{org}}-{{key}}",
        "lane_limit": LIMIT,
        "config": {"function_name": "lanes.hold", "inputs": {"key": "{{key}}", "seconds": "{{seconds}}"}},
    }
    return parse_dict(
        {
            "name": "lanes",
            "inputs": {"key": {"type": "string"}, "seconds": {"type": "number"}},
            "dag": {"nodes": [node]},
        }
    ).canonical()


async def idle(log: EventLog, lane: str) -> LaneState | None:
    """The lane's state, once nothing holds it or waits for it."""
    key = key_of_lane(lane)
    state = folded(key, [(s.seq, ev.decode(s.data)) for s in await log.read(subjects.run_all(key))])
    return state if state.idle else None


def most_at_once(notes: Path, died: dict[int, int]) -> tuple[int, int]:
    """(the most that ran at a time, how many were cut off): what was cut off ended when its process died."""
    open_since: dict[tuple[int, str], int] = {}
    moments: list[tuple[int, int]] = []
    for line in notes.read_text().splitlines():
        at, pid, run, what = line.split()
        if what == "begin":
            assert (int(pid), run) not in open_since
            open_since[int(pid), run] = int(at)
            moments.append((int(at), 1))
        else:
            del open_since[int(pid), run]
            moments.append((int(at), -1))
    moments += [(died[pid], -1) for pid, _ in open_since]
    now = most = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    assert now == 0
    return most, len(open_since)


async def test_lanes_keep_their_limits_through_kill_9(processes: Processes, nats_url: str, tmp_path: Path) -> None:
    nc = await nats.connect(nats_url)
    log = EventLog(nc)
    await log.start()
    await processes.ready()
    names = [f"k{number}" for number in range(KEYS)]
    raw = definition()
    inputs = [{"key": names[number % KEYS], "seconds": 0.05 + 0.02 * (number % 7)} for number in range(RUNS)]
    runs = {await submit(log, raw, given) for given in inputs}
    await drive(log, processes, runs, RUNS, [partial(processes.kill, name) for name in KILLS])
    cut_off = 0
    for name in names:
        most, lost = most_at_once(tmp_path / "notes" / name, processes.died)
        assert most <= LIMIT, f"{most} at a time in the lane {name}"
        cut_off += lost
        state = await until(partial(idle, log, f"test-{name}"), what=f"the lane {name} is not idle")
        assert state.grants == RUNS // KEYS, "each attempt had one slot, and gave it back"
    assert cut_off > 0, "no worker was killed in the middle of a step"
    await nc.close()
