"""Patterns of file paths: `*.md`, `**/*.md`, `reports/*.md`. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Final

ANY_DEPTH: Final = "**"
ANY_DEPTH_MAX: Final = 2  # each makes matching a path slower by the path's depth
PATTERN_CHARS_MAX: Final = 256


def parts_of(pattern: str) -> list[str]:
    """Returns the parts of a pattern. Raises ValueError, which says why it is not one and what to write."""
    parts = pattern.split("/")
    why = ""
    if not pattern or len(pattern) > PATTERN_CHARS_MAX or "\x00" in pattern:
        why = f"it is empty, too long (over {PATTERN_CHARS_MAX} characters) or holds a null character"
    elif pattern.startswith("/") or ".." in parts or "" in parts:
        why = "it has to stay below the folder, with no leading `/` and no `..`"
    elif parts.count(ANY_DEPTH) > ANY_DEPTH_MAX:
        why = f"`{ANY_DEPTH}` may stand in it {ANY_DEPTH_MAX} times"
    if why:
        raise ValueError(why)
    return [*parts, "*"] if parts[-1] == ANY_DEPTH else parts


def matches(names: Sequence[str], parts: Sequence[str]) -> bool:
    """True if a path's names match a pattern's parts.

    A name that begins with a dot needs a part that does.
    """
    if not parts:
        return not names
    if parts[0] == ANY_DEPTH:
        return matches(names, parts[1:]) or (len(names) > 1 and names[0][0] != "." and matches(names[1:], parts))
    if not names or (names[0].startswith(".") and not parts[0].startswith(".")):
        return False
    return fnmatch.fnmatchcase(names[0], parts[0]) and matches(names[1:], parts[1:])


def leads_on(names: Sequence[str], parts: Sequence[str]) -> bool:
    """True if a file below this folder may match: the pattern is deeper, or has `**`."""
    if ANY_DEPTH in parts:
        return not names[-1].startswith(".") or any(part.startswith(".") for part in parts)
    return len(names) < len(parts) and matches(names, parts[: len(names)])
