"""Medians of two samples: the bootstrap interval of their difference, and tests of whether they differ. Pure.

The bootstrap draws samples with replacement. For a median the result of endless drawing is known in closed form (Efron
1979, Maritz and Jarrett 1978), so nothing is drawn here, no seed is needed, and equal samples give equal answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

CONFIDENCE: Final = 0.95
_NEGLIGIBLE: Final = 1e-9  # probability of a median that is left out


class Interval(NamedTuple):
    low: int
    high: int


def median(values: Sequence[int]) -> int:
    """Returns the median, of an even number the lower one of the two in the middle, so that it is a whole number."""
    return sorted(values)[(len(values) - 1) // 2]


def median_difference(a: Sequence[int], b: Sequence[int], confidence: float = CONFIDENCE) -> Interval:
    """Returns the bootstrap percentile interval of the median of `b` minus the median of `a`."""
    left, right = _medians(a), _medians(b)
    changes: dict[int, float] = {}
    for before, weight in left.items():
        for after, other in right.items():
            change = after - before
            changes[change] = changes.get(change, 0.0) + weight * other
    total = math.fsum(changes.values())
    tail = (1 - confidence) / 2 * total
    ordered = sorted(changes)
    return Interval(_quantile(ordered, changes, tail), _quantile(ordered[::-1], changes, tail))


def _quantile(ordered: Sequence[int], weights: dict[int, float], tail: float) -> int:
    passed = 0.0
    for value in ordered:
        passed += weights[value]
        if passed > tail:
            return value
    return ordered[-1]


def _medians(values: Sequence[int]) -> dict[int, float]:
    """Returns the probability of each median that a sample with replacement may have."""
    found: dict[int, float] = {}
    for value, weight in zip(sorted(values), _weights(len(values)), strict=True):
        if weight > _NEGLIGIBLE:
            found[value] = found.get(value, 0.0) + weight
    return found


@lru_cache(64)
def _weights(size: int) -> tuple[float, ...]:
    """Returns the probability that the lower median of a sample with replacement is the k-th smallest value."""
    needed = (size - 1) // 2 + 1  # so many values must not be above it
    at_most = [_at_least(size, k / size, needed) for k in range(size + 1)]
    return tuple(at_most[k] - at_most[k - 1] for k in range(1, size + 1))


def _at_least(size: int, share: float, needed: int) -> float:
    """Returns the probability of at least `needed` successes in `size` trials."""
    if share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    logs = math.log(share), math.log1p(-share)
    whole = math.lgamma(size + 1)
    return min(
        1.0,
        math.fsum(
            math.exp(whole - math.lgamma(k + 1) - math.lgamma(size - k + 1) + k * logs[0] + (size - k) * logs[1])
            for k in range(needed, size + 1)
        ),
    )


def rank_test(a: Sequence[int], b: Sequence[int]) -> float:
    """Returns the p-value of the two-sided Mann-Whitney test, by the normal approximation with ties and continuity."""
    size = len(a) + len(b)
    ranks = 0.0
    ties = 0
    ordered = sorted([(value, 0) for value in a] + [(value, 1) for value in b])
    start = 0
    while start < size:
        end = start
        while end < size and ordered[end][0] == ordered[start][0]:
            end += 1
        ranks += sum(1 for _, side in ordered[start:end] if side == 0) * (start + end + 1) / 2
        ties += (end - start) ** 3 - (end - start)
        start = end
    statistic = ranks - len(a) * (len(a) + 1) / 2
    variance = len(a) * len(b) / 12 * (size + 1 - ties / (size * (size - 1)))
    if variance <= 0:
        return 1.0
    distance = max(0.0, abs(statistic - len(a) * len(b) / 2) - 0.5)
    return math.erfc(distance / math.sqrt(variance) / math.sqrt(2))


def share_difference(hits_a: int, size_a: int, hits_b: int, size_b: int) -> tuple[Interval, float]:
    """Returns the interval of the difference of two shares, per million (Newcombe 1998), and Fisher's exact p-value."""
    a, b = hits_a / size_a, hits_b / size_b
    (low_a, high_a), (low_b, high_b) = _wilson(hits_a, size_a), _wilson(hits_b, size_b)
    low = b - a - math.hypot(b - low_b, high_a - a)
    high = b - a + math.hypot(high_b - b, a - low_a)
    return Interval(round(low * 1e6), round(high * 1e6)), _fisher(hits_a, size_a, hits_b, size_b)


def _wilson(hits: int, size: int, z: float = 1.959964) -> tuple[float, float]:
    share = hits / size
    middle = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(share * (1 - share) / size + z * z / (4 * size * size))
    return max(0.0, middle - half), min(1.0, middle + half)


def _fisher(hits_a: int, size_a: int, hits_b: int, size_b: int) -> float:
    hits = hits_a + hits_b
    whole = math.comb(size_a + size_b, hits)

    def chance(k: int) -> int:
        return math.comb(size_a, k) * math.comb(size_b, hits - k)

    seen = chance(hits_a)
    every = range(max(0, hits - size_b), min(hits, size_a) + 1)
    return sum(each for k in every if (each := chance(k)) <= seen) / whole


def corrected(p_values: Sequence[float]) -> list[float]:
    """Returns the p-values corrected for their number (Benjamini and Hochberg 1995: the share of false discoveries)."""
    order = sorted(range(len(p_values)), key=lambda number: -p_values[number])
    found = [1.0] * len(p_values)
    least = 1.0
    for place, number in enumerate(order):
        least = min(least, p_values[number] * len(p_values) / (len(p_values) - place))
        found[number] = least
    return found
