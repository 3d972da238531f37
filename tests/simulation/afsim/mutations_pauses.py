"""Bugs to plant in pauses that end by themselves, and in the paths of timeouts. See mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentflow_common.lanes import controls
from agentflow_common.runs import fold_facts
from agentflow_scheduler.runs.steps import verdict

Change = tuple[Any, Any, Any]


def pause_without_end() -> list[Change]:
    """A run forgets until when it is paused."""
    return [(fold_facts, "_pause_until", lambda *_: None)]


def workflow_pause_without_end() -> list[Change]:
    """Nobody reads until when a workflow is paused."""
    return [(controls, "_pause_end", lambda _setting: 0)]


def late_steps_fail() -> list[Change]:
    """A run fails of a step that took too long, though another path begins there."""
    return [(verdict, "TIMED_OUT", ())]


ALL: tuple[Callable[[], list[Change]], ...] = (pause_without_end, workflow_pause_without_end, late_steps_fail)
