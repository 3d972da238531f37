"""For tests: the fields that every event has."""

from __future__ import annotations

from typing import Any


def base(run: str = "r", ts: int = 1, **more: Any) -> dict[str, Any]:
    """Returns org, run and time of an event, and `more` of its fields."""
    return {"org": "o", "run": run, "ts": ts, **more}
