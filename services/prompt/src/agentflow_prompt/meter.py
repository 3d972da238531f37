"""Bounds of one rendering of a prompt: the weight of a value, the amount of work, and the time."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jinja2.exceptions import SecurityError

VALUE_WEIGHT_MAX: Final = 8 * 1024 * 1024  # of one value: its characters plus 16 for each element
WORK_MAX: Final = 200_000  # iterations, calls, filters and operators of one rendering
RENDER_S_MAX: Final = 2.0
INT_BITS_MAX: Final = 256
_NODE_WEIGHT: Final = 16


class BoundError(SecurityError):
    """The template asks for more than a bound allows."""


class Meter:
    """Counts the work of one rendering and checks its deadline, a time of `time.monotonic`."""

    __slots__ = ("deadline", "left")

    def __init__(self) -> None:
        self.left = WORK_MAX
        self.deadline = time.monotonic() + RENDER_S_MAX

    def tick(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise BoundError(f"the template does more than {WORK_MAX:,} operations; loop over fewer items")
        if time.monotonic() > self.deadline:
            raise BoundError(f"the template ran longer than {RENDER_S_MAX:g} s; loop over fewer items")


_meter: contextvars.ContextVar[Meter | None] = contextvars.ContextVar("agentflow_prompt_meter", default=None)


@contextlib.contextmanager
def metered() -> Iterator[Meter]:
    meter = Meter()
    token = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(token)


def tick_now() -> None:
    meter = _meter.get()
    if meter is not None:
        meter.tick()


def weigh(value: Any, limit: int = VALUE_WEIGHT_MAX) -> int:
    """Returns the characters of a value plus a fee for each element; stops above `limit`.

    Shared parts count as often as they appear.
    """
    total = 0
    stack = [value]
    while stack and total <= limit:
        item = stack.pop()
        total += _NODE_WEIGHT
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, Mapping):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            stack.extend(item)
        elif isinstance(item, int) and item.bit_length() > INT_BITS_MAX:
            raise BoundError(f"a number has more than {INT_BITS_MAX} bits; use smaller numbers")
    return total


def bounded(value: Any) -> Any:
    if weigh(value) > VALUE_WEIGHT_MAX:
        raise BoundError(f"a value grew beyond {VALUE_WEIGHT_MAX:,} characters; pass or build a smaller one")
    return value
