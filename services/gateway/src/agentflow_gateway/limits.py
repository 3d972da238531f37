"""Bounds on the texts and values that clients send. Pure."""

from __future__ import annotations

from typing import Any, Final

from agentflow_common.definition.durations import TIME_MS_MAX
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.runs.state import MARKER, marker_place

IDEMPOTENCY_KEY_CHARS_MAX: Final = 256
REASON_CHARS_MAX: Final = 500


def check_size(size: int, limit: int, place: str = "inputs") -> None:
    """Raises InvalidError if a value is too large. size: its bytes as JSON. place: the field that holds it."""
    if size > limit:
        raise InvalidError.at(
            place,
            f"`{place}` has {size:,} bytes as JSON, the limit is {limit:,}",
            "put the data in a file or a bucket and pass its key; a tool step reads it",
            kind="inputs_too_large",
        )


def check_reserved(encoded: bytes, value: Any, place: str) -> None:
    """Raises InvalidError if the value contains MARKER: a client's mark would name another caller's stored value.

    encoded: the value as JSON. It nearly always shows at once that there is nothing to look for.
    """
    if f'"{MARKER}"'.encode() in encoded and (where := marker_place(value, place)):
        raise InvalidError.at(
            where, f"{where} uses the key `{MARKER}`, which the engine reserves", "rename it", kind="reserved_key"
        )


def check_until(until: int, now_ms: int) -> None:
    """Raises InvalidError for the end of a pause that lies in the past, or too far away. 0: the pause has no end."""
    if until and not now_ms < until <= TIME_MS_MAX:
        fix = "give a later time in ms since 1970, before the year 2255; or 0 for a pause without an end"
        raise InvalidError.at("until", f"the pause can't end at {until}: it is now {now_ms}", fix)


def check_text(value: str, place: str, chars_max: int) -> str:
    """Returns the text if it is short enough and can be stored."""
    if "\x00" in value:
        raise InvalidError.of([Problem(place, "the text contains a NUL character", "remove it")])
    if len(value) > chars_max:
        problem = Problem(place, f"{len(value):,} characters are too many", f"use at most {chars_max:,}")
        raise InvalidError.of([problem])
    return value
