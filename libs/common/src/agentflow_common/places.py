"""Places in nested data: a place as text, the line that it stands on, and every text with its place. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from agentflow_common.errors import Problem

Place = tuple[str | int, ...]  # the names and numbers that lead to a part of the data
Lines = Mapping[Place, int]  # the line of each place in the author's text, from 1
Finding = tuple[Place, str, str]  # where something is wrong, what is wrong, and how to fix it

_LINE: Final = re.compile(r"line (\d+)\b")


def dotted(place: Place) -> str:
    """Returns a place as its author reads it: `dag.nodes[2].config`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def with_line(place: Place, text: str, lines: Lines) -> str:
    """Returns `line 7, <text>`, with the line of the nearest part of the place that has one."""
    while place and place not in lines:
        place = place[:-1]
    line = f"line {lines.get(place, 1)}"
    return f"{line}, {text}" if text else line


def line_of(problem: Problem) -> int:
    """Returns the line that a problem's place begins with; 0 if it names none."""
    found = _LINE.match(problem.place)
    return int(found[1]) if found else 0


def texts(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yields every text in a JSON value, each with its place. place: of the value itself."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(item, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from texts(item, (*place, number))
