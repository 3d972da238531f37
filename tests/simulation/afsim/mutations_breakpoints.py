"""Bugs to plant in breakpoints. See mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentflow_scheduler.runs import chain
from agentflow_scheduler.runs.steps import breakpoints

Change = tuple[Any, Any, Any]


def chain_over_a_breakpoint() -> list[Change]:
    """A worker goes on with a step that has a breakpoint."""
    return [(chain, "_stops_before", lambda *_: False)]


def new_breakpoint_without_decision() -> list[Change]:
    """Nothing keeps a worker from going on with a step that was given a breakpoint meanwhile."""
    return [(breakpoints, "note_changes", lambda *_: None)]


def stopped_goes_on() -> list[Change]:
    """A run that is stopped goes on at the next event."""
    return [(breakpoints, "is_stopped", lambda _state: False)]


ALL: tuple[Callable[[], list[Change]], ...] = (
    chain_over_a_breakpoint,
    new_breakpoint_without_decision,
    stopped_goes_on,
)
