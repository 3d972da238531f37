"""The text of another engine's definition: its values, the line of each, and remarks about what was not carried over.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from agentflow_common.definition.yaml_text import load
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.json_values import kind_of
from agentflow_common.places import Lines, Place, dotted

NUMBER_MAX: Final = 1e15  # no number of a definition that is read means more


def amount(digits: str) -> float:
    """Returns the number of a text of digits, however many they are."""
    return min(NUMBER_MAX, float(digits[:16])) if digits else 0.0


@dataclass(frozen=True, slots=True, order=True)
class Remark:
    """Something that was not carried over as it stood."""

    line: int
    """The line in the author's text, from 1."""

    place: str
    """The place in it: `spec.templates[2]`."""

    message: str
    """What was not carried over, or is something else now."""

    fix: str
    """What to do about it."""

    def problem(self) -> Problem:
        """Returns the remark as a problem at its line."""
        where = f"line {self.line}"
        return Problem(f"{where}, {self.place}" if self.place else where, self.message, self.fix)


@dataclass(slots=True)
class Remarks:
    """Collects remarks, each once."""

    lines: Lines
    found: dict[Remark, None] = field(default_factory=dict)

    def add(self, place: Place, message: str, fix: str) -> None:
        """Adds a remark about a place."""
        at = place
        while at and at not in self.lines:
            at = at[:-1]
        self.found[Remark(self.lines.get(at, 1), dotted(place), message, fix)] = None


class Part:
    """A value of the author's text at its place. Asking for something of another type raises InvalidError."""

    def __init__(self, value: Any, place: Place, remarks: Remarks) -> None:
        self.value = value
        self.place = place
        self.remarks = remarks

    @classmethod
    def of_text(cls, text: str, source: str) -> Part:
        """Reads YAML or JSON. Raises InvalidError with the line if it is neither, or not one mapping."""
        try:
            data, lines = load(text, source)
        except InvalidError as error:
            if "another document" not in str(error):
                raise
            raise InvalidError.at(
                "line 1", "the file has several documents", "import each from a file of its own"
            ) from None
        found = cls(data, (), Remarks(lines))
        found.mapping()
        return found

    @property
    def line(self) -> int:
        """Returns the line of the value."""
        place = self.place
        while place and place not in self.remarks.lines:
            place = place[:-1]
        return self.remarks.lines.get(place, 1)

    def remark(self, message: str, fix: str) -> None:
        """Adds a remark about this part."""
        self.remarks.add(self.place, message, fix)

    def wrong(self, message: str, fix: str) -> InvalidError:
        """Returns the error that this part can't be read at all."""
        where = dotted(self.place)
        return InvalidError.at(f"line {self.line}, {where}" if where else f"line {self.line}", message, fix)

    def __bool__(self) -> bool:
        return self.value not in (None, "", [], {})

    def __contains__(self, name: str) -> bool:
        return isinstance(self.value, dict) and name in self.value

    def __getitem__(self, name: str | int) -> Part:
        """Returns a part of a mapping or list; a part without a value if it is not there."""
        inner: Any = None
        if isinstance(self.value, dict):
            inner = self.value.get(name)
        elif isinstance(self.value, list) and isinstance(name, int) and name < len(self.value):
            inner = self.value[name]
        return Part(inner, (*self.place, name), self.remarks)

    def mapping(self) -> dict[str, Any]:
        """Returns the value as a mapping; an empty one for null."""
        if self.value is None and self.place:
            return {}
        if not isinstance(self.value, dict):
            raise self.wrong(f"must be a mapping, got {kind_of(self.value)}", "is it a definition of this engine?")
        return self.value

    def fields(self) -> Iterator[tuple[str, Part]]:
        """Yields the name and the value of each field of a mapping."""
        for name in self.mapping():
            yield str(name), self[name]

    def items(self) -> Iterator[Part]:
        """Yields the items of a list; none for null."""
        if self.value is None:
            return
        if not isinstance(self.value, list):
            raise self.wrong(f"must be a list, got {kind_of(self.value)}", "is it a definition of this engine?")
        for number in range(len(self.value)):
            yield self[number]

    def text(self, default: str = "") -> str:
        """Returns a text, or a number as text."""
        if self.value is None:
            return default
        if isinstance(self.value, dict | list):
            raise self.wrong(f"must be a text, got {kind_of(self.value)}", "is it a definition of this engine?")
        return str(self.value).lower() if isinstance(self.value, bool) else str(self.value)

    def number(self, default: float = 0) -> float:
        """Returns a number, also one that is written as text; the default for anything else."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float | str):
            return default
        try:
            found = float(self.value)
        except (ValueError, OverflowError):
            return default
        return max(-NUMBER_MAX, min(NUMBER_MAX, found)) if math.isfinite(found) else default

    def not_carried(self, names: dict[str, str]) -> None:
        """Adds a remark for each of these fields that is given. names: each with what to do instead."""
        for name, fix in names.items():
            if self[name]:
                self[name].remark(f"{name!r} is not carried over", fix)
