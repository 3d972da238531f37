"""Records histories: every run, keyed lane and schedule of a running stack as JSON lines, for test_histories.py.

    python tests/replay/record.py DATA_DIR LABEL      (the label says which version wrote them, for example v0.1)

Start the stack with WORKER_ID set, so that no machine is named in here. scenarios.py plays what is worth keeping.
The first line says what is recorded and the hash of its state; every other one is {"seq", "event"}. A history is never
edited: a later version of the code must fold it to the same hash and decide it the same way.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import nats

from agentctl import stack
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.lanes.fold import LaneState
from agentflow_common.log.event_log import EventLog
from agentflow_common.runs.fold import readable
from agentflow_common.runs.state import RunState
from agentflow_scheduler.entities import State, folding
from agentflow_scheduler.replay.state_hash import state_hash

HISTORIES = Path(__file__).with_name("histories")
ALIKE_MAX = 2  # of one workflow that ended in the same way


async def record(data_dir: Path, label: str) -> None:
    info = stack.find(data_dir)
    if info is None:
        raise SystemExit(f"no stack runs in {data_dir}: agentctl up --detach --data-dir {data_dir}")
    nc = await nats.connect(info.nats)
    log = EventLog(nc)
    entities: dict[subjects.EntityKey, list[tuple[int, bytes]]] = {}
    for stored in await log.read(subjects.ALL_EVENTS):
        key = subjects.parse(stored.subject)
        if key is not None and readable(stored.subject, stored.data) is not None:
            entities.setdefault(key, []).append((stored.seq, stored.data))
    await nc.close()
    alike: Counter[tuple[str, Any]] = Counter()
    for key, messages in entities.items():
        fold = folding(key)
        for seq, data in messages:
            fold.add(ev.decode(data), seq)
        state: State | None = fold.finish()
        if state is None:
            continue
        name, head = _head(state)
        alike[name, head.get("status")] += 1
        if alike[name, head.get("status")] > ALIKE_MAX:
            continue
        lines = [msgspec.json.encode(head | {"hash": state_hash(state)})]
        lines += [b'{"seq":%d,"event":%s}' % (seq, data) for seq, data in messages]
        file = HISTORIES / f"{name}.{label}.{key.name[-6:]}.jsonl"
        file.write_bytes(b"\n".join(lines) + b"\n")
        print(f"{file.name}: {len(messages)} events, {head}")


def _head(state: State) -> tuple[str, dict[str, Any]]:
    if isinstance(state, RunState):
        return state.workflow, {"workflow": state.workflow, "status": state.status}
    if isinstance(state, LaneState):
        return "lane", {"lane": state.lane}
    return "schedule", {"schedule": state.name}


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1]), sys.argv[2]))
