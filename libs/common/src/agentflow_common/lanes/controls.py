"""The operators' settings in the bucket AF_CONTROLS: paused workflows, and limits of keyed lanes and worker pools.

`lane.<name>` holds a JSON object for one lane or pool, or for a pattern of names. Characters that a key may not contain
are escaped: `acme-*` is `lane.acme-=2A`. `workflow.<org>.<name>` holds a JSON object for one workflow.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from agentflow_common import subjects
from agentflow_common.definition.rates import RATE_MAX
from agentflow_common.errors import UNREADABLE
from agentflow_common.lanes.fold import LaneConfig, is_lock

log = logging.getLogger(__name__)
CONTROLS_STREAM: Final = f"KV_{subjects.CONTROLS_BUCKET}"
CONTROLS_PREFIX: Final = f"$KV.{subjects.CONTROLS_BUCKET}."
PREFIX: Final = "lane."
LIMIT_MAX: Final = 10_000
NAME_MAX: Final = 256  # characters of a lane's key
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9_-]")
_QUOTED: Final = re.compile(rb"=([0-9A-F]{2})")


def control_key(name: str) -> str:
    """Returns the key of a lane's setting, or of a pattern of lanes, where `*` stands for any characters."""
    safe = _UNSAFE.sub(lambda found: b"=%02X" % found[0][0], name.encode())
    return PREFIX + safe.decode()


def name_of(key: str) -> str:
    """Returns the name in a key. The key may lack its `lane.`."""
    safe = key.removeprefix(PREFIX).encode()
    return _QUOTED.sub(lambda found: bytes([int(found[1], 16)]), safe).decode(errors="replace")


def workflow_of(key: str) -> tuple[str, str] | None:
    """Returns (org, workflow) from a workflow's key, `workflow.<org>.<name>`; None for another key."""
    kind, _, rest = key.partition(".")
    org, _, name = rest.partition(".")
    return (org, name) if kind == "workflow" else None


def name_for(lane: str, names: Collection[str]) -> str | None:
    """Returns the name whose setting applies to a lane: its own, or the longest pattern that matches it."""
    if lane in names:
        return lane
    fitting = [name for name in names if "*" in name and _pattern(name).fullmatch(lane)]
    return max(fitting, key=lambda name: (len(name.replace("*", "")), name)) if fitting else None


def setting_for(lane: str, settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Returns the setting of a lane, from the settings by name."""
    name = name_for(lane, settings)
    return None if name is None else settings[name]


def rate_text(rate_per_s: float) -> str:
    """Returns a rate as text: `5 in a second`, `100 in a minute`.

    The unit is the smallest that gives a whole number, or else the smallest that gives at least one.
    """
    rates = [(rate_per_s * seconds, unit) for seconds, unit in ((1, "second"), (60, "minute"), (3600, "hour"))]
    least = [(rate, unit) for rate, unit in rates if rate >= 0.9999] or rates[-1:]
    rate, unit = next(((r, u) for r, u in least if abs(r - round(r)) < 1e-6 * r), least[0])
    return f"{round(rate, 4):.10g} in {'an' if unit == 'hour' else 'a'} {unit}"


def is_paused(setting: Mapping[str, Any], now_ms: int) -> bool:
    """True for a setting that pauses a lane or a workflow, and whose pause has not ended by itself."""
    return setting.get("paused") is True and not 0 < _pause_end(setting) <= now_ms


def _pause_end(setting: Mapping[str, Any]) -> int:
    """Returns when a pause ends by itself, ms since the epoch; 0 if it does not."""
    until = setting.get("paused_until")
    return until if isinstance(until, int) else 0


def config_for(lane: str, settings: Mapping[str, Mapping[str, Any]], now_ms: int) -> LaneConfig:
    """Returns the limits that apply to a keyed lane. A value that is not a number, or out of range, is ignored.

    A lock has one slot: no limit applies, neither its own nor that of a pattern such as `*`.
    """
    setting = setting_for(lane, settings) or {}
    limit, rate = None if is_lock(lane) else setting.get("limit"), setting.get("rate_per_s")
    return LaneConfig(
        limit if isinstance(limit, int) and 0 < limit <= LIMIT_MAX else None,
        float(rate) if isinstance(rate, int | float) and 0 <= rate <= RATE_MAX else None,
        is_paused(setting, now_ms),
    )


class ControlSettings:
    """The newest settings, from the messages of the bucket's stream. A pause until a time ends when it has come."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.lanes: dict[str, dict[str, Any]] = {}  # by name or pattern
        self._workflows: dict[tuple[str, str], dict[str, Any]] = {}  # the paused ones, by (org, name)
        self._now_ms = now_ms
        self._awaited: set[int] = set()  # ends of pauses that were reported, and whose time has not come

    def take(self, subject: str, data: bytes | None) -> bool:
        """Takes one message. Returns False if it can't be read; the earlier setting stays then."""
        key = subject.removeprefix(CONTROLS_PREFIX)
        try:
            setting: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any]) if data else {}
        except UNREADABLE:
            log.warning("the setting of %s is not a JSON object, the earlier one holds", key)
            return False
        if is_paused(setting, self._now_ms()):
            self._await_end(setting)
        workflow = workflow_of(key)
        if workflow is not None:
            if setting.get("paused") is True:
                self._workflows[workflow] = setting
            else:
                self._workflows.pop(workflow, None)
        elif key.startswith(PREFIX) and setting:
            self.lanes[name_of(key)] = setting
        else:
            self.lanes.pop(name_of(key), None)  # the key was deleted
        return True

    def is_paused(self, org: str, workflow: str) -> bool:
        setting = self._workflows.get((org, workflow)) if self._workflows else None
        if setting is None or not is_paused(setting, self._now_ms()):
            return False
        self._await_end(setting)
        return True

    def config_for(self, lane: str) -> LaneConfig:
        config = config_for(lane, self.lanes, self._now_ms())
        if config.paused:
            self._await_end(setting_for(lane, self.lanes) or {})
        return config

    def has_pause_ended(self) -> bool:
        """True if the time of a pause has come since the last call.

        A clock that is set back can make `is_paused` and `config_for` report a pause again. Such a pause ends again.
        """
        now_ms = self._now_ms()
        ends = self._awaited.intersection(self._pause_ends())
        self._awaited = {end for end in ends if end > now_ms}
        return len(self._awaited) < len(ends)

    def next_end_s(self, most_s: float) -> float:
        """Returns the seconds until the next pause ends by itself, at most `most_s`.

        A pause that `has_pause_ended` has not seen end yet ends in 0 seconds.
        """
        ends = self._awaited.intersection(self._pause_ends())
        return min([most_s, *(max(0, end - self._now_ms()) / 1000 for end in ends)])

    def _await_end(self, setting: Mapping[str, Any]) -> None:
        if (end := _pause_end(setting)) > 0:
            self._awaited.add(end)

    def _pause_ends(self) -> Iterator[int]:
        return map(_pause_end, itertools.chain(self.lanes.values(), self._workflows.values()))


@lru_cache(maxsize=1024)
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)
