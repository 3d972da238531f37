"""Hints for a name that is not known: the known names that are written nearly the same. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice
from typing import Final

COMPARED_MAX: Final = 500  # names: to compare one takes some 15 us


def near(name: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Returns the known names that are written nearly like `name`, the closest first.

    `most` bounds their number. `cutoff` is the least similarity, from 0 to 1 (difflib.SequenceMatcher.ratio).
    """
    return difflib.get_close_matches(name, list(islice(known, COMPARED_MAX)), n=most, cutoff=cutoff)


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "", *, most: int = 1, cutoff: float = 0.6) -> str:
    """Returns `did you mean 'a' or 'b'?`, or `otherwise` if no known name is close."""
    close = near(name, known, most=most, cutoff=cutoff)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else otherwise
