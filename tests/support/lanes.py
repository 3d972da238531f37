"""For tests: the state of a lane from its events."""

from __future__ import annotations

from collections.abc import Iterable

from agentflow_common import events as ev
from agentflow_common.lanes.fold import LaneFold, LaneState
from agentflow_common.subjects import EntityKey


def folded(lane: EntityKey, log: Iterable[tuple[int, ev.Event]]) -> LaneState:
    """Returns the state of a lane. log: its events as (sequence, event), in sequence order."""
    folding = LaneFold(lane)
    for seq, event in log:
        folding.add(event, seq)
    return folding.finish()
