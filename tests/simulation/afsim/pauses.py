"""Pauses that end by themselves, in a part of the seeds. A run that is not resumed then never ends, which is seen."""

from __future__ import annotations

import random
from typing import NamedTuple


class End(NamedTuple):
    """How a pause ends."""

    until: int = 0  # ms since the epoch; 0: nothing ends it by itself
    by_itself: bool = False  # nobody asks for the end


def end_of(seed: int, name: str, end_ms: int) -> End:
    """Returns how a pause ends. In an eighth of the seeds some end by themselves, or are resumed before that."""
    rng = random.Random(f"{seed} {name} pauses")
    if seed % 8 != 1 or rng.random() < 0.2:
        return End()
    return End(end_ms + 5_000) if rng.random() < 0.3 else End(end_ms, by_itself=True)
