"""The expressions of Serverless Workflow: jq over the document, variables, durations. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from agentctl.importers.documents import Document
from agentctl.importers.expression import (
    Expr,
    Fields,
    Items,
    Literal,
    Op,
    Ref,
    UntranslatableError,
    part_of,
    with_tags,
)
from agentctl.importers.flow import translated
from agentctl.importers.infix import Dialect, Parts, parse
from agentctl.importers.source import Part, amount

_WRAPPED: Final = re.compile(r"\$\{(.*)\}\Z", re.DOTALL)
_PLACE: Final = re.compile(r"\{([A-Za-z_]\w*)\}")
_ISO: Final = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?\Z")
_UNIT_MS: Final = {"days": 86_400_000, "hours": 3_600_000, "minutes": 60_000, "seconds": 1_000, "milliseconds": 1}
_CALLS: Final[dict[str, Callable[..., Expr]]] = {
    "length": lambda a: Op("size", (a,)),
    "not": lambda a: Op("not", (a,)),
    "tostring": lambda a: Op("text", (a,)),
    "tonumber": lambda a: Op("number", (a,)),
    "ascii_downcase": lambda a: Op("lower", (a,)),
    "ascii_upcase": lambda a: Op("upper", (a,)),
    "add": lambda a: Op("sum", (a,)),
    "join": lambda a, b: Op("join", (a, b)),
    "startswith": lambda a, b: Op("starts", (a, b)),
    "endswith": lambda a, b: Op("ends", (a, b)),
    "contains": lambda a, b: Op("contains", (a, b)),
}


@dataclass(frozen=True)
class Scope:
    """The names that expressions can use: the document, the variables in it, and the workflow."""

    document: Document
    start: Expr
    name: str

    def resolve(self, root: str, parts: Parts) -> Expr:  # noqa: PLR0911  (a table of cases)
        """Returns the meaning of a path."""
        variables = dict(self.document.variables)
        match root, parts:
            case ".", _:
                return self.document.at(parts)
            case "$input", _:
                return self.document.at(parts)
            case "$workflow", ("input", *path):
                return part_of(self.start, tuple(path))
            case "$workflow", ("id",):
                return Ref("run")
            case "$workflow", ("definition", "document", "name"):
                return Literal(self.name)
            case "$context", () if "context" not in variables:
                return Fields(())
            case "$context", _ if "context" not in variables:
                return Literal(None)
            case _ if root.startswith("$") and root[1:] in variables:
                return part_of(variables[root[1:]], parts)
        raise UntranslatableError(f"{'.'.join([root, *map(str, parts)])!r} is not known here")


def expression(text: str, scope: Scope) -> Expr:
    """Returns an expression, with or without `${ }` around it."""
    whole = _WRAPPED.match(text.strip())
    return parse((whole[1] if whole else text).strip(), Dialect(scope.resolve, _CALLS, jq=True))


def read(part: Part, scope: Scope, *, is_expression: bool = False) -> Expr:
    """Returns a value with expressions anywhere in it. What can't be translated is null, with a remark.

    is_expression: a text is an expression even without `${ }`.
    """
    if isinstance(part.value, dict):
        return Fields(tuple((name, read(item, scope)) for name, item in part.fields()))
    if isinstance(part.value, list):
        return Items(tuple(read(item, scope) for item in part.items()))
    text = part.value
    if isinstance(text, str) and (is_expression or _WRAPPED.match(text.strip()) or re.match(r"[.$]\w", text)):
        return translated(part, lambda: expression(text, scope), Literal(None))
    _remark_inside(part)
    return Literal(text)


def _remark_inside(part: Part) -> None:
    """Remarks on `${ }` inside a text: it would silently stay as it is."""
    if isinstance(part.value, str) and "${" in part.value:
        fix = "an expression is the whole text in Serverless Workflow; write `{{...}}` for that part"
        part.remark("'${ }' inside a text is not an expression, and stays as it is", fix)


def address(part: Part, scope: Scope) -> Expr:
    """Returns an address: an expression, or a text with `{name}` for fields of the document."""
    text = part.text()
    if _WRAPPED.match(text.strip()):
        return read(part, scope)

    def field(match: re.Match[str]) -> Expr:
        return translated(part, partial(scope.document.at, (match[1],)), Literal(match[0]))

    _remark_inside(part)
    return with_tags(text, _PLACE, field)


def duration_ms(part: Part) -> int:
    """Returns a duration: `PT30S`, or an object with days, hours, minutes, seconds and milliseconds."""
    if isinstance(part.value, dict):
        return int(sum(item.number() * _UNIT_MS.get(name, 0) for name, item in part.fields()))
    found = _ISO.match(part.text().strip())
    if found is None:
        part.remark(f"{part.text()!r} is not a duration that is known here", "write it as 90s, 1h30m or 2d")
        return 0
    units = (86_400_000, 3_600_000, 60_000, 1_000)
    return int(sum(amount(number or "") * unit for number, unit in zip(found.groups(), units, strict=True)))


def event(part: Part) -> str:
    """Returns the type of an event that is listened for."""
    return part["with"]["type"].text() or part["with"]["source"].text() or "event"


def name_and_task(item: Part) -> tuple[str, Part]:
    """Returns the one name and task of an item of `do`."""
    fields: list[tuple[str, Part]] = list(item.fields())
    if len(fields) != 1:
        raise item.wrong("must be one task with its name", "write `- name: {task}`")
    return fields[0]


def any_of(values: list[Any]) -> Expr:
    """Returns the first of several values that is not null."""
    found: Expr = values[0]
    for other in values[1:]:
        found = Op("first", (found, other))
    return found
