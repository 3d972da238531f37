"""Answers about lanes."""

from __future__ import annotations

from dataclasses import dataclass

from agentflow_sdk.models.records import Record


@dataclass(frozen=True, slots=True)
class Lane(Record):
    """A worker pool, or a keyed lane."""

    name: str
    """The name of the pool, or the key of the lane."""
    limit: int | None = None
    """The most attempts at a time; None if no limit was set here."""
    rate_per_s: float | None = None
    """The most attempts that may begin in a second; None for no bound."""
    paused: bool = False
    """True if no further attempt begins."""
    reason: str = ""
    """Why the lane is paused."""
    by: str = ""
    """The name of the API key that changed the lane last."""
    at: int = 0
    """When the lane was changed last, ms since the epoch."""
    keyed: bool = False
    """True for a lane that is made from a template in definitions, false for a worker pool."""
    active: int = 0
    """The number of attempts at work."""
    queued: int = 0
    """The number of attempts that wait."""
    workers: int = 0
    """The number of worker processes that ask for the pool's tasks."""
    holders: tuple[str, ...] = ()
    """The attempts that have a slot of the lane."""
    paused_until: int = 0
    """When the pause ends by itself, ms since the epoch; 0 if it does not."""
