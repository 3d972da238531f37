"""The problems of a schedule, each with its place and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentflow_common import hints
from agentflow_common.definition.checks.lanes import LANE_FIXES
from agentflow_common.definition.nodes.base import PATTERN_WORDS
from agentflow_common.errors import Problem
from agentflow_common.places import Lines, Place, with_line
from agentflow_common.schedules.field_types import DAY_MS

_WAITS: Final = frozenset(
    name + unit for name in ("jitter", "catchup_window", "deadline", "settle", "every") for unit in ("", "_ms")
)
_SHAPES: Final = {
    "tuple_type": "write one text, or a list of texts",
    "dict_type": "write a mapping, `name: value`",
    "model_type": "write a mapping, for example {webhook: true}",
    "bool_parsing": "write true or false",
}
_ELSEWHERE: Final = {  # the names that other schedulers have for a policy
    "terminate": "`cancel` ends what runs",
    "replace": "it is called `cancel` here",
    "forbid": "it is called `skip` here",
    "queue": "it is called `buffer_all` here",
    "parallel": "it is called `allow` here",
}


def place_of(path: Place, lines: Lines | None) -> str:
    """Returns the place of a problem in the author's terms: `line 7, trigger.subject`."""
    dotted = ".".join(map(str, path))
    return with_line(path, dotted, lines) if lines else dotted or "schedule"


def _span(ms: int) -> str:
    unit = next(
        (unit for unit in ((DAY_MS, "d"), (3_600_000, "h"), (1000, "s")) if ms and ms % unit[0] == 0), (1, "ms")
    )
    return f"{ms // unit[0]}{unit[1]}"


def explained(item: Any, lines: Lines | None, fields: Mapping[str, Sequence[str]]) -> Problem:
    """Returns one of pydantic's errors in the author's terms. fields: the names that each level may have."""
    path = tuple(item["loc"])
    message, fix = hints.plain(item), ""
    if item["type"] == "extra_forbidden":
        names = [name.removesuffix("_ms") for name in fields[".".join(map(str, path[:-1]))]]
        hint = hints.did_you_mean(str(path[-1]), names)
        message, fix = f"unknown field {path[-1]!r}", f"{hint} there is {', '.join(names)}".lstrip()
    elif item["type"] == "missing":
        message, fix = f"the field {path[-1]!r} is missing", f"add `{path[-1]}:`"
    elif item["type"] == "string_pattern_mismatch":
        words = PATTERN_WORDS.get(item["ctx"]["pattern"]) or LANE_FIXES[str(path[-1])]
        message, fix = f"{item['input']!r} is not valid here", words
    elif item["type"] == "literal_error":
        message = f"{message}, got {item['input']!r}"[:200]
        otherwise = "or a range, mon-fri" if "weekdays" in path else hints.meant(item)
        fix = _ELSEWHERE.get(str(item["input"]).lower(), otherwise) if "overlap" in path else otherwise
    elif item["type"] == "model_type" and path == ("run_lane",):
        message, fix = f"got {item['input']!r}"[:100], "write a key, or a mapping, for example {key: reports, limit: 2}"
    elif item["type"] in _SHAPES:
        message, fix = f"got {item['input']!r}"[:100], _SHAPES[item["type"]]
    elif item["type"] in {"less_than_equal", "greater_than_equal"} and str(path[-1]) in _WAITS:
        message = f"{item['input']!r} is out of range"
        fix = f"use {'at most' if 'le' in item['ctx'] else 'at least'} {_span(next(iter(item['ctx'].values())))}"
    elif item["type"] == "value_error" and ": " in message:
        message, _, fix = message.partition(": ")
    return Problem(place_of(path, lines), message, fix)
