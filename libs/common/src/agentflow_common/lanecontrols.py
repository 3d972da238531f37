"""What operators set, in the bucket AF_CONTROLS: for lanes a JSON object by the lane's key, or by a pattern of keys.

A name stands in its key as it is, but for characters that a key may not hold: `acme-*` is `lane.acme-=2A`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from agentflow_common.lanefold import LaneConfig

PREFIX: Final = "lane."
LIMIT_MAX: Final = 10_000
RATE_MAX: Final = 100_000.0
NAME_MAX: Final = 256  # characters of a lane's key
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9_-]")
_QUOTED: Final = re.compile(rb"=([0-9A-F]{2})")


def control_key(name: str) -> str:
    """The key of a lane or of a pattern (`*` stands for any characters)."""
    safe = _UNSAFE.sub(lambda found: b"=%02X" % found[0][0], name.encode())
    return PREFIX + safe.decode()


def name_of(key: str) -> str:
    """The name in a key, with or without `lane.` before it."""
    safe = key.removeprefix(PREFIX).encode()
    return _QUOTED.sub(lambda found: bytes([int(found[1], 16)]), safe).decode(errors="replace")


def workflow_of(key: str) -> tuple[str, str] | None:
    """(org, workflow) of a workflow's key, `workflow.<org>.<name>`; None for another key."""
    kind, _, rest = key.partition(".")
    org, _, name = rest.partition(".")
    return (org, name) if kind == "workflow" else None


def setting_for(lane: str, settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """What is set for a lane, of settings by name: its own, or that of the pattern with the most characters."""
    own = settings.get(lane)
    if own is not None:
        return own
    fitting = [name for name in settings if "*" in name and _pattern(name).fullmatch(lane)]
    return settings[max(fitting, key=lambda name: (len(name.replace("*", "")), name))] if fitting else None


def config_for(lane: str, settings: Mapping[str, Mapping[str, Any]]) -> LaneConfig:
    """The limits that hold for a keyed lane; what is not a number, or out of range, is as if it were not there."""
    setting = setting_for(lane, settings) or {}
    limit, rate = setting.get("limit"), setting.get("rate_per_s")
    return LaneConfig(
        limit if isinstance(limit, int) and 0 < limit <= LIMIT_MAX else None,
        float(rate) if isinstance(rate, int | float) and 0 <= rate <= RATE_MAX else None,
        setting.get("paused") is True,
    )


@lru_cache(maxsize=1024)
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)
