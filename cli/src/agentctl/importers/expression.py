"""Expressions of another engine as data, and how they are written in a definition: as a value, in a template, in CEL.

Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from agentflow_common.definition.nodes.calls import OUTCOME
from agentflow_common.expressions.language import parse_reference

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class UntranslatableError(Exception):
    """An expression that can't be written here; the text says why."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A plain JSON value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Ref:
    """A value by its place: `Ref("read", ("output", "text"))` or `Ref("inputs", ("name",))`."""

    root: str
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Op:
    """An operation on expressions. `_TEMPLATE` and `_CEL` list them."""

    name: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """A text that is joined from parts."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Fields:
    """An object with computed fields."""

    fields: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list with computed items."""

    items: tuple[Expr, ...]


Expr = Literal | Ref | Op | Joined | Fields | Items

TRUE: Final = Literal(True)
_Shown = Callable[..., str]
_BOTH: Final[dict[str, _Shown]] = {
    **{
        sign: lambda a, b, sign=sign: f"({a} {sign} {b})"
        for sign in ["==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "in"]
    },
    "neg": lambda a: f"(-{a})",
}
_TEMPLATE: Final[dict[str, _Shown]] = {
    **_BOTH,
    "and": lambda a, b: f"({a} and {b})",
    "or": lambda a, b: f"({a} or {b})",
    "not": lambda a: f"(not {a})",
    "if": lambda c, a, b: f"({a} if {c} else {b})",
    "first": lambda a, b: f"({a} if {a} is not none else {b})",
    "size": lambda a: f"({a} | length)",
    "lower": lambda a: f"({a} | lower)",
    "upper": lambda a: f"({a} | upper)",
    "text": lambda a: f"({a} | string)",
    "number": lambda a: f"({a} | float)",
    "integer": lambda a: f"({a} | int)",
    "contains": lambda a, b: f"({b} in {a})",
    "starts": lambda a, b: f"{a}.startswith({b})",
    "ends": lambda a, b: f"{a}.endswith({b})",
    "join": lambda a, b: f"({a} | join({b}))",
    "each": lambda a, b: f"({a} | map(attribute={b}) | list)",
    "sum": lambda a: f"({a} | sum)",
    "known": lambda a: f"(({a} | default(none)) is not none)",
}
_CEL: Final[dict[str, _Shown]] = {
    **_BOTH,
    "and": lambda a, b: f"({a} && {b})",
    "or": lambda a, b: f"({a} || {b})",
    "not": lambda a: f"!({a})" if not a.startswith("(") else f"!{a}",
    "if": lambda c, a, b: f"({c} ? {a} : {b})",
    "first": lambda a, b: f"({a} != null ? {a} : {b})",
    "size": lambda a: f"size({a})",
    "text": lambda a: f"string({a})",
    "number": lambda a: f"double({a})",
    "integer": lambda a: f"int({a})",
    "contains": lambda a, b: f"{a}.contains({b})",
    "starts": lambda a, b: f"{a}.startsWith({b})",
    "ends": lambda a, b: f"{a}.endsWith({b})",
    "matches": lambda a, b: f"{a}.matches({b})",
    "known": lambda a: f"has({a})",
}


def with_tags(text: str, tag: re.Pattern[str], read: Callable[[re.Match[str]], Expr]) -> Expr:
    """Returns a text in which each match of `tag` stands for an expression. A lone tag keeps the type of its value."""
    parts: list[Expr] = []
    position = 0
    for match in tag.finditer(text):
        if match.start() > position:
            parts.append(Literal(text[position : match.start()]))
        parts.append(read(match))
        position = match.end()
    if position < len(text) or not parts:
        parts.append(Literal(text[position:]))
    return parts[0] if len(parts) == 1 else Joined(tuple(parts))


def _path(root: str, path: Iterable[str | int]) -> str:
    text = root
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if _NAME.match(part) else f"[{json.dumps(part)}]"
    return text


def _operation(table: dict[str, _Shown], op: Op, shown: Callable[[Expr], str], where: str) -> str:
    if op.name not in table:
        raise UntranslatableError(f"{where} have no operation {op.name!r}")
    return table[op.name](*map(shown, op.args))


def template(expr: Expr) -> str:
    """Returns an expression as it stands inside the braces of a template."""
    match expr:
        case Literal(value):
            constants = {None: "none", True: "true", False: "false"}
            is_constant = value is None or isinstance(value, bool)
            return constants[value] if is_constant else json.dumps(value, ensure_ascii=False)
        case Ref(root, path):
            return _path(root, path)
        case Op():
            return _operation(_TEMPLATE, expr, template, "templates")
        case Joined(parts):
            return "(" + " ~ ".join(map(template, parts)) + ")" if parts else '""'
        case Fields(fields):
            return "{" + ", ".join(f"{json.dumps(name)}: {template(item)}" for name, item in fields) + "}"
        case Items(items):
            return "[" + ", ".join(map(template, items)) + "]"


def cel(expr: Expr) -> str:  # noqa: PLR0911  (a table of cases)
    """Returns an expression as a condition in CEL."""
    match expr:
        case Literal(value):
            return json.dumps(value, ensure_ascii=False)
        case Ref(root, path):
            return _path(root, path)
        case Op("known", (Ref(root, (*before, last)),)) if isinstance(last, int) or not _NAME.match(last):
            inside = _path(root, before)
            return f"(size({inside}) > {last})" if isinstance(last, int) else f"({json.dumps(last)} in {inside})"
        case Op():
            return _operation(_CEL, expr, cel, "conditions")
        case Joined(parts):
            shown = (cel(part) if isinstance(part, Literal) else f"string({cel(part)})" for part in parts)
            return "(" + " + ".join(shown) + ")"
        case Fields(fields):
            return "{" + ", ".join(f"{json.dumps(name)}: {cel(item)}" for name, item in fields) + "}"
        case Items(items):
            return "[" + ", ".join(map(cel, items)) + "]"


def condition(expr: Expr) -> str:
    """Returns a condition without the parentheses around the whole."""
    text = cel(expr)
    return text[1:-1] if text.startswith("(") and _closes(text) == len(text) - 1 else text


def _closes(text: str) -> int:
    """Returns where the parenthesis closes that the text begins with."""
    depth, quote, skip = 0, "", False
    for position, char in enumerate(text):
        if skip:
            skip = False
        elif quote:
            skip = char == "\\"
            quote = "" if char == quote else quote
        elif char == '"':
            quote = char
        else:
            depth += (char == "(") - (char == ")")
            if depth == 0:
                return position
    return -1


def plain(text: str) -> str:
    """Returns a text that is neither a reference nor a template, whatever it looks like."""
    if "{{" in text or "{%" in text or "{#" in text:
        return "{{" + json.dumps(text.replace("{", "\x00"), ensure_ascii=False).replace("\\u0000", "\\x7b") + "}}"
    return "{{" + json.dumps(text, ensure_ascii=False) + "}}" if parse_reference(text) is not None else text


def value(expr: Expr) -> Any:  # noqa: PLR0911  (a table of cases)
    """Returns an expression as it stands in the arguments of a node: plain, a reference or a template."""
    match expr:
        case Literal(str() as text):
            return plain(text)
        case Literal(list() as items):
            return [value(Literal(item)) for item in items]
        case Literal(dict() as fields):
            return {str(name): value(Literal(item)) for name, item in fields.items()}
        case Literal(found):
            return found
        case Fields(fields):
            return {name: value(item) for name, item in fields}
        case Items(items):
            return [value(item) for item in items]
        case Joined(parts):
            return "".join(_part(part) for part in parts)
        case Ref(root) if root != OUTCOME and parse_reference(text := template(expr)) is not None:
            return text
        case _:
            return "{{" + _spaced(template(expr)) + "}}"


def _part(part: Expr) -> str:
    if isinstance(part, Literal) and isinstance(part.value, str):
        return plain(part.value) if "{" in part.value else part.value
    return "{{" + _spaced(template(part)) + "}}"


def _spaced(text: str) -> str:
    """Keeps the braces of an object apart from those of the template."""
    text = text[1:-1] if text.startswith("(") and _closes(text) == len(text) - 1 else text
    return f" {text} " if text.startswith("{") or text.endswith("}") else text


def part_of(expr: Expr, path: tuple[str | int, ...]) -> Expr:
    """Returns the part of a value at a path. Raises UntranslatableError if the value can't have it."""
    for number, part in enumerate(path):
        match expr:
            case Ref(root, before):
                return Ref(root, (*before, *path[number:]))
            case Op("first", (one, other)):
                return Op("first", (part_of(one, path[number:]), part_of(other, path[number:])))
            case Fields(fields) if part in dict(fields):
                expr = dict(fields)[str(part)]
            case Items(items) if isinstance(part, int) and part < len(items):
                expr = items[part]
            case Literal(dict() as found) if part in found:
                expr = Literal(found[part])
            case Literal(list() as found) if isinstance(part, int) and part < len(found):
                expr = Literal(found[part])
            case _:
                raise UntranslatableError(f"there is no {part!r} in the value")
    return expr


def is_large(expr: Expr | None, limit: int = 40) -> bool:
    """True if an expression has more parts than people would read in one line."""
    ahead = [] if expr is None else [expr]
    while ahead and limit >= 0:
        limit -= 1
        match ahead.pop():
            case Op(_, parts) | Joined(parts) | Items(parts):
                ahead += parts
            case Fields(fields):
                ahead += [part for _, part in fields]
    return limit < 0


def negated(expr: Expr | None) -> Expr:
    """Returns the opposite of a condition; None is always true."""
    return Literal(False) if expr is None else Op("not", (expr,))


def both(first: Expr | None, second: Expr | None) -> Expr | None:
    """Returns a condition that holds if both do; None is always true."""
    if first is None or second is None:
        return second if first is None else first
    return Op("and", (first, second))


def either(first: Expr | None, second: Expr | None) -> Expr | None:
    """Returns a condition that holds if one does; None is always true."""
    return None if first is None or second is None else Op("or", (first, second))
