"""Answers about the differences of groups of runs."""

from __future__ import annotations

from dataclasses import dataclass

from agentflow_sdk.models.records import Record


@dataclass(frozen=True, slots=True)
class TraceGroup(Record):
    """The finished runs that fit. Empty texts and zeros don't filter."""

    tags: tuple[str, ...] = ()
    """`KEY=VALUE`, or a value that any tag may have. All of them must fit."""
    workflow: str = ""
    """The name of their workflow."""
    version: int = 0
    """The version of their workflow."""
    model: str = ""
    """A model that answered in them."""
    prompt: str = ""
    """A prompt that was used in them, `name@version`."""
    status: str = ""
    """How they ended: `completed`, `failed` or `cancelled`."""
    start_ms: int = 0
    """The first time of submission, ms since the epoch."""
    end_ms: int = 0
    """The last time of submission, ms since the epoch."""


@dataclass(frozen=True, slots=True)
class TraceGroupSide(Record):
    """One of two groups."""

    runs: int = 0
    """The number of its runs."""
    completed: int = 0
    """Those that completed."""
    failed: int = 0
    """Those that failed."""
    cancelled: int = 0
    """Those that were cancelled."""
    workflow: str = ""
    """The workflow of the newest run, whose definition names the steps."""
    version: int = 0
    """The version of that workflow."""


@dataclass(frozen=True, slots=True)
class TraceGroupMeasure(Record):
    """A quantity in both groups."""

    name: str
    """The quantity: `cost`, `time`, `wait`, `tokens`, `attempts` or `failures`."""
    unit: str
    """The unit: `nano_usd`, `ms`, `tokens`, `attempts`, or `per_million` for a share of runs."""
    a: int = 0
    """The median in the first group; of `failures` the share."""
    b: int = 0
    """The same in the second group."""
    change: int = 0
    """`b` minus `a`."""
    low: int = 0
    """The lower end of the 95% interval of the change."""
    high: int = 0
    """The upper end of it."""
    p_value: float = 1.0
    """The probability that equal groups differ as much, corrected for the number of measures."""
    significant: bool = False
    """True if the change is more than chance gives."""


@dataclass(frozen=True, slots=True)
class TraceGroupStep(Record):
    """A node of the definition in both groups."""

    a: str = ""
    """The node in the first group; empty if it does not have it."""
    b: str = ""
    """The node in the second group; empty if it does not have it."""
    a_runs: int = 0
    """The runs of the first group in which it did something."""
    b_runs: int = 0
    """The runs of the second group in which it did something."""
    measures: tuple[TraceGroupMeasure, ...] = ()
    """The quantities; empty if too few runs have the node."""


@dataclass(frozen=True, slots=True)
class TraceGroups(Record):
    """The differences of two groups of runs."""

    a: TraceGroupSide
    """The first group."""
    b: TraceGroupSide
    """The second group."""
    enough: bool = False
    """True if both groups have enough runs. Otherwise nothing is called significant."""
    summary: str = ""
    """The most important differences in a few sentences."""
    method: str = ""
    """How intervals and significance are computed."""
    measures: tuple[TraceGroupMeasure, ...] = ()
    """The quantities of whole runs."""
    steps: tuple[TraceGroupStep, ...] = ()
    """The nodes; the greatest significant changes come first."""
