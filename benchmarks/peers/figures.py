"""Turns samples into JSON lines: names, medians, ratios. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

CHAIN = 10
OURS = "agentflow"
PEERS = ("restate", "dbos", "langgraph", "temporal")
DOORS = {"door": "default", "door_fsync": "fsync"}  # ours through the gateway: the field of a turn, the durability


class Sample(NamedTuple):
    """One engine's turn."""

    steps_per_s: float
    step_ms: float


class Turn(NamedTuple):
    """Samples that were measured one after the other."""

    ours: Sample
    fsync: Sample  # ours, on a log that syncs before it acknowledges
    theirs: Sample
    nofsync: Sample | None = None  # the peer, if it can leave the flush to the system as our default does
    door: Sample | None = None  # ours through the gateway, beside a peer that is reached through a server
    door_fsync: Sample | None = None


class Figure(NamedTuple):
    name: str
    value: float
    unit: str
    n: int
    durability: str
    more: dict[str, Any]


def sample(batches: Sequence[float], runs: int, alone: Sequence[float], length: int) -> Sample:
    """Makes a sample.

    batches: seconds of `runs` chains in flight. alone: seconds of each single run of a chain of
    `length`.
    """
    return Sample(runs * CHAIN / statistics.median(batches), 1000 * statistics.median(alone) / length)


def of_ours(turns: Sequence[Turn], more: Mapping[str, Any]) -> list[Figure]:
    """Returns our figures in both modes."""
    figures = _of_engine(OURS, "", [turn.ours for turn in turns], "default", more)
    figures += _of_engine(OURS, "_fsync", [turn.fsync for turn in turns], "fsync", more)
    for field, durability in DOORS.items():
        if doors := [door for _, door in _through_door(turns, field)]:
            figures += _of_engine(OURS, f"_{field}", doors, durability, more)
    return figures


def of_peer(peer: str, turns: Sequence[Turn], about: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Returns the peer's figures, and how many times as fast ours is: medians of the turns' own
    ratios.

    about: the peer's descriptions, with `durability`; a second one is for the peer without fsync.
    """
    durability, *relaxed = [str(each["durability"]) for each in about]
    theirs = [turn.theirs for turn in turns]
    figures = _of_engine(peer, "", theirs, durability, about[0])
    figures += _ratios(peer, "", [turn.ours for turn in turns], theirs, "default", durability)
    figures += _ratios(peer, "_fsync", [turn.fsync for turn in turns], theirs, "fsync", durability)
    for field, mode in DOORS.items():
        if doors := _through_door(turns, field):
            figures += _ratios(peer, f"_{field}", [door for _, door in doors], [t for t, _ in doors], mode, durability)
    pairs = [(turn.ours, turn.nofsync) for turn in turns if turn.nofsync is not None]
    if pairs and relaxed:
        ours, nofsync = [our for our, _ in pairs], [their for _, their in pairs]
        figures += _of_engine(peer, "_nofsync", nofsync, relaxed[0], about[1])
        figures += _ratios(peer, "_nofsync", ours, nofsync, "default", relaxed[0])
    return figures


def _through_door(turns: Sequence[Turn], field: str) -> list[tuple[Sample, Sample]]:
    """Returns (the peer, ours through the gateway) for the turns that measured it. field: of DOORS."""
    return [(turn.theirs, door) for turn in turns if (door := getattr(turn, field)) is not None]


def _of_engine(
    engine: str, suffix: str, samples: Sequence[Sample], durability: str, about: Mapping[str, Any]
) -> list[Figure]:
    more = {key: value for key, value in about.items() if key != "durability"}
    count = len(samples)
    rate = statistics.median(each.steps_per_s for each in samples)
    step = statistics.median(each.step_ms for each in samples)
    return [
        Figure(f"peers.{engine}.chain{CHAIN}{suffix}.steps_per_s", rate, "steps/s", count, durability, more),
        Figure(f"peers.{engine}.sequential_step{suffix}_ms", step, "ms", count, durability, more),
    ]


def _ratios(
    peer: str, suffix: str, ours: Sequence[Sample], theirs: Sequence[Sample], durability: str, peer_durability: str
) -> list[Figure]:
    """Returns the ratios; above 1 ours is faster.

    Each line has both sides' medians, of the same minutes.
    """
    pairs = list(zip(ours, theirs, strict=True))
    found = []
    for what, of, turned in ((f"chain{CHAIN}", "steps_per_s", False), ("sequential_step", "step_ms", True)):
        values = [(getattr(our, of), getattr(their, of)) for our, their in pairs]
        ratio = statistics.median(their / our if turned else our / their for our, their in values)
        sides = {
            side: round(statistics.median(each), 3)
            for side, each in zip(("ours", "theirs"), zip(*values, strict=True), strict=True)
        }
        more = {"peer_durability": peer_durability, "of": of, **sides}
        found.append(Figure(f"peers.ratio_to_{peer}.{what}{suffix}", ratio, "ratio", len(pairs), durability, more))
    return found
