"""Records histories: every run of a running stack as JSON lines, for tests/replay/test_histories.py.

    python tests/replay/record.py DATA_DIR LABEL      (the label says which version wrote them, for example v0.1)

The first line is {"workflow", "status", "hash"}; every other one {"seq", "event"}. A history is never edited: a later
version of the code must fold it to the same hash and decide it the same way.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import nats

from agentctl import stack
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.eventlog import EventLog
from agentflow_common.runfold import fold

HISTORIES = Path(__file__).with_name("histories")


async def record(data_dir: Path, label: str) -> None:
    info = stack.find(data_dir)
    if info is None:
        raise SystemExit(f"no stack runs in {data_dir}: agentctl up --detach --data-dir {data_dir}")
    nc = await nats.connect(info.nats)
    log = EventLog(nc)
    runs: dict[str, list[tuple[int, bytes]]] = {}
    for stored in await log.read(subjects.ALL_EVENTS):
        key = subjects.parse(stored.subject)
        if key is not None and ev.try_decode(stored.data) is not None:
            runs.setdefault(key.run, []).append((stored.seq, stored.data))
    await nc.close()
    for run, messages in runs.items():
        state = fold((seq, ev.decode(data)) for seq, data in messages)
        if state is None:
            continue
        lines = [msgspec.json.encode({"workflow": state.workflow, "status": state.status, "hash": state.hash()})]
        lines += [b'{"seq":%d,"event":%s}' % (seq, data) for seq, data in messages]
        name = HISTORIES / f"{state.workflow}.{label}.{run[-6:]}.jsonl"
        name.write_bytes(b"\n".join(lines) + b"\n")
        print(f"{name.name}: {len(messages)} events, {state.status}")


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1]), sys.argv[2]))
