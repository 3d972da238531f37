"""Bugs to plant in the items of maps. See mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentflow_common.runs.state import StepStatus, parent_of
from agentflow_scheduler.runs import run
from agentflow_scheduler.runs.steps import expansion, items

Change = tuple[Any, Any, Any]


def items_without_condition() -> list[Change]:
    """A map begins the items for which its condition does not hold."""
    return [(expansion, "is_left_out", lambda *_: False)]


def skipped_items_fail() -> list[Change]:
    """A skipped item counts as a failed one."""
    return [(run, "DONE", frozenset({StepStatus.COMPLETED}))]


def keys_forgotten() -> list[Change]:
    """The results for an object make a list."""
    return [(items, "fitting", lambda *_: None)]


def inner_maps_stay_open() -> list[Change]:
    """A map that fails closes the items of the maps in it, and not these maps."""
    return [(expansion, "OPEN", frozenset())]


def inner_concurrency_ignored() -> list[Change]:
    """A map in a map offers all its items at once."""
    real = expansion._room

    def room(at: Any) -> int:
        left = real(at)
        return left if parent_of(at.key) is None else len(at.run.next_children[at.key])

    return [(expansion, "_room", room)]


ALL: tuple[Callable[[], list[Change]], ...] = (
    items_without_condition, skipped_items_fail, keys_forgotten, inner_maps_stay_open, inner_concurrency_ignored,
)  # fmt: skip
