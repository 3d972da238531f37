"""The keys of parts: of the children of a step, of their children, of iterations. Pure. See state.py."""

from __future__ import annotations

from functools import lru_cache

from agentflow_common.runs.state import parent_of


@lru_cache(4096)
def whole_of(key: str) -> str:
    """Returns the step that the key is a part of, through all levels, or the key itself: `analyze[3][0]` -> `analyze`.

    A compensation is not a part.
    """
    parent = parent_of(key)
    return key if parent is None else whole_of(parent)


def index_of(key: str) -> int:
    """Returns the number of a child: `analyze[3][0]` -> 0."""
    return int(key[key.rindex("[") + 1 : -1])
