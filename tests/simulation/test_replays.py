"""Runs of the simulated world, with crashes and lost messages, are replayed: each decision is taken again."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest

from agentflow_common import subjects
from agentflow_common.rpc.scheduler import SAME
from agentflow_scheduler.replay import history
from agentflow_scheduler.replay.replay import replay

sys.path.insert(0, str(Path(__file__).parent))

from afsim.world import simulate

SAME_SHARE_MIN = (
    0.99  # of runs whose scheduler crashed in the middle of appends: in the rest, steps had waited for room
)


def replayed(seed: int) -> dict[str, str]:
    """Returns the verdict about each run of a seed."""
    server = simulate(seed).server
    logs: dict[subjects.EntityKey, list[tuple[str, bytes, int]]] = defaultdict(list)
    for message in server.log:
        key = subjects.parse(message.subject)
        if key is not None and key.kind == "run":
            logs[key].append((message.subject, message.data, message.seq))
    values = {
        name: msgspec.json.decode(data) for (bucket, name), data in server.objects.items()
        if bucket == subjects.BLOB_BUCKET
    }  # fmt: skip
    found = {}
    for key, messages in logs.items():
        log = history.from_messages(messages)
        if log:
            found[key.name] = replay(key, log, values).verdict
    return found


def test_runs_of_the_simulated_world_replay_the_same() -> None:
    verdicts = [verdict for seed in range(24) for verdict in replayed(seed).values()]
    assert len(verdicts) > 100
    assert verdicts.count(SAME) / len(verdicts) >= SAME_SHARE_MIN


@pytest.mark.slow
def test_ten_thousand_runs_of_the_simulated_world_replay() -> None:
    verdicts: list[str] = []
    for seed in range(4_000):
        verdicts += replayed(seed).values()
        if len(verdicts) >= 10_000:
            break
    assert len(verdicts) >= 10_000
    assert verdicts.count(SAME) / len(verdicts) >= SAME_SHARE_MIN
