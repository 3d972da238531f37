"""From samples to JSON lines: names, medians, ratios. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

CHAIN = 10
OURS = "agentflow"
PEERS = ("restate", "dbos", "langgraph", "temporal")


class Sample(NamedTuple):
    """One engine's turn."""

    steps_per_s: float
    step_ms: float


class Turn(NamedTuple):
    """What was measured one after the other. fsync: ours, on a log that syncs before it acknowledges."""

    peer: str
    ours: Sample
    fsync: Sample
    theirs: Sample


class Figure(NamedTuple):
    name: str
    value: float
    unit: str
    n: int
    durability: str
    more: dict[str, Any]


def sample(batches: Sequence[float], runs: int, alone: Sequence[float], length: int) -> Sample:
    """batches: seconds of `runs` chains in flight. alone: seconds of each run of a chain of `length`, by itself."""
    return Sample(runs * CHAIN / statistics.median(batches), 1000 * statistics.median(alone) / length)


def of_engine(engine: str, samples: Sequence[Sample], durability: str, more: Mapping[str, Any]) -> list[Figure]:
    """The two figures of an engine. Ours with fsync has names of its own."""
    suffix = "_fsync" if engine == OURS and durability == "fsync" else ""
    count = len(samples)
    rate = statistics.median(each.steps_per_s for each in samples)
    step = statistics.median(each.step_ms for each in samples)
    return [
        Figure(f"peers.{engine}.chain{CHAIN}{suffix}.steps_per_s", rate, "steps/s", count, durability, dict(more)),
        Figure(f"peers.{engine}.sequential_step{suffix}_ms", step, "ms", count, durability, dict(more)),
    ]


def ratios(peer: str, turns: Sequence[Turn], durability: str) -> list[Figure]:
    """How many times as fast ours is: their steps in our time. durability: theirs. The median of the turns' ratios."""
    figures = []
    for ours, suffix in (("default", ""), ("fsync", "_fsync")):
        pairs = [(turn.fsync if suffix else turn.ours, turn.theirs) for turn in turns]
        rate = statistics.median(our.steps_per_s / their.steps_per_s for our, their in pairs)
        step = statistics.median(their.step_ms / our.step_ms for our, their in pairs)
        more = {"peer_durability": durability}
        prefix = f"peers.ratio_to_{peer}"
        figures += [
            Figure(f"{prefix}.chain{CHAIN}{suffix}", rate, "ratio", len(pairs), ours, more),
            Figure(f"{prefix}.sequential_step{suffix}", step, "ratio", len(pairs), ours, more),
        ]
    return figures


def report(turns: Sequence[Turn], about: Mapping[str, Mapping[str, Any]]) -> list[Figure]:
    """Every line of a run. about: engine -> what its lines tell; a peer's `durability` is among it."""
    if not turns:
        return []
    ours = dict(about[OURS])
    figures = of_engine(OURS, [turn.ours for turn in turns], "default", ours)
    figures += of_engine(OURS, [turn.fsync for turn in turns], "fsync", ours)
    for peer in PEERS:
        its = [turn for turn in turns if turn.peer == peer]
        if its:
            more = dict(about[peer])
            durability = str(more.pop("durability"))
            figures += of_engine(peer, [turn.theirs for turn in its], durability, more)
            figures += ratios(peer, its, durability)
    return figures
