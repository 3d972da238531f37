"""The names of run lanes and locks. Pure."""

from __future__ import annotations

from typing import Any, Final

from agentflow_common.expressions.sandbox import ExpressionError

KEY_MAX: Final = 128  # characters of the key of a run lane or a lock


def lane_name(prefix: str, org: str, key: Any) -> str:
    """Returns the name of a run lane or a lock. Raises ExpressionError for a key that is not a text or a number."""
    text = str(key) if isinstance(key, str | int) and not isinstance(key, bool) else ""
    if not 0 < len(text) <= KEY_MAX:
        raise ExpressionError(f"the key must be a text of 1 to {KEY_MAX} characters, got {str(key)[:80]!r}")
    return f"{prefix}{org}:{text}"
