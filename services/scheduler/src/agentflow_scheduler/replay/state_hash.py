"""One text for the state of a run, a lane or a schedule, by which two states are compared. Pure."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from agentflow_common.lanes.fold import LaneState
from agentflow_common.runs.state import RunState
from agentflow_common.schedules.state import ScheduleState


def state_hash(state: RunState | LaneState | ScheduleState) -> str:
    """Returns the hex SHA-256 of a state. It is equal for equal logs; recorded histories keep it."""
    plain: Any = msgspec.to_builtins(state, str_keys=True) if isinstance(state, ScheduleState) else state
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()
