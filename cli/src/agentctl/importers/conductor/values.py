"""The expressions of Conductor: `${...}`, JavaScript and jq over a task's parameters, loop conditions. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from agentctl.importers.expression import (
    Expr,
    Fields,
    Items,
    Joined,
    Literal,
    Op,
    UntranslatableError,
    both,
    part_of,
    with_tags,
)
from agentctl.importers.flow import ITERATIONS
from agentctl.importers.infix import CHARS_MAX, Dialect, Parts, parse

Resolve = Callable[[Parts], Expr]
"""Returns the meaning of the parts of `${a.b.c}`."""

_TAG: Final = re.compile(r"\$\{([^{}]*)\}")
_PART: Final = re.compile(r"""\.?([A-Za-z_][\w-]*)|\[(\d+)\]|\[(['"])(.*?)\3\]""")
_FUNCTION: Final = re.compile(
    r"\(?\s*function\s*\w*\s*\([\w, ]*\)\s*\{(.*?)\}\s*(?:\)\s*\(\s*\)|\w+\(\s*\))?;?\s*", re.DOTALL
)
_IF: Final = re.compile(
    r"if\s*\((.*)\)\s*\{?\s*(?:return\s+)?(true|false)\s*;?\s*\}?\s*(?:else)?\s*\{?\s*(?:return\s+)?(true|false)\s*;?\s*\}?",
    re.DOTALL,
)
_NAME: Final = re.compile(r"\s*(?:var|let|const)\s+([A-Za-z_]\w*)\s*=\s*([^;]+);")
_NAMES_MAX: Final = 10
_CALLS: Final[dict[str, Callable[..., Expr]]] = {
    "toLowerCase": lambda a: Op("lower", (a,)),
    "toUpperCase": lambda a: Op("upper", (a,)),
    "includes": lambda a, b: Op("contains", (a, b)),
    "startsWith": lambda a, b: Op("starts", (a, b)),
    "endsWith": lambda a, b: Op("ends", (a, b)),
    "toString": lambda a: Op("text", (a,)),
    "String": lambda a: Op("text", (a,)),
    "Number": lambda a: Op("number", (a,)),
    "parseInt": lambda a: Op("integer", (a,)),
}
_JQ_CALLS: Final[dict[str, Callable[..., Expr]]] = {
    "length": lambda a: Op("size", (a,)),
    "not": lambda a: Op("not", (a,)),
    "tostring": lambda a: Op("text", (a,)),
    "tonumber": lambda a: Op("number", (a,)),
    "ascii_downcase": lambda a: Op("lower", (a,)),
    "ascii_upcase": lambda a: Op("upper", (a,)),
    "add": lambda a: Op("sum", (a,)),
    "join": lambda a, b: Op("join", (a, b)),
}


def split(path: str) -> Parts:
    """Returns the parts of `a.b[0]['c']`. Raises UntranslatableError for other paths."""
    parts: list[str | int] = []
    position = 0
    while position < len(path):
        match = _PART.match(path, position)
        if match is None:
            raise UntranslatableError(f"{path[position:][:20]!r} is not a plain path")
        parts.append(match[1] or (int(match[2]) if match[2] else match[4]))
        position = match.end()
    return tuple(parts)


def read(given: Any, resolve: Resolve) -> Expr:
    """Returns a value with `${...}` anywhere in it."""
    if isinstance(given, dict):
        return Fields(tuple((str(name), read(item, resolve)) for name, item in given.items()))
    if isinstance(given, list):
        return Items(tuple(read(item, resolve) for item in given))
    if not isinstance(given, str):
        return Literal(given)
    return with_tags(given, _TAG, lambda match: resolve(split(match[1].strip())))


def _without_names(code: str) -> str:
    """Puts the value of each `var name = value;` where the name stands."""
    for _ in range(_NAMES_MAX):
        found = _NAME.match(code)
        if found is None:
            break
        given = found[2].strip()
        shown = given if re.fullmatch(r"[\w.$\[\]'\"]+", given) else f"({given})"
        shown = shown.replace("\\", r"\\")
        code = re.sub(rf"(?<![\w.$]){found[1]}\b", shown, code[found.end() :])
        if len(code) > CHARS_MAX:
            raise UntranslatableError(f"the code is longer than {CHARS_MAX:,} characters")
    return code


def javascript(text: str, parameters: Mapping[str, Expr]) -> Expr:
    """Returns JavaScript over the parameters of a task, `$.name`."""
    if len(text) > CHARS_MAX:
        raise UntranslatableError(f"the code is longer than {CHARS_MAX:,} characters")
    text = " ".join(text.split())
    body = _FUNCTION.fullmatch(text)
    inner = _without_names((body[1] if body else text).strip()).rstrip(";").strip()
    negative = _IF.fullmatch(inner)
    if negative is not None and negative[2] != negative[3]:
        found = javascript(negative[1], parameters)
        return found if negative[2] == "true" else Op("not", (found,))

    def resolve(root: str, parts: Parts) -> Expr:
        if root != "$" or not parts or parts[0] not in parameters:
            raise UntranslatableError(f"{'.'.join([root, *map(str, parts)])!r} is not a parameter")
        return part_of(parameters[str(parts[0])], parts[1:])

    return parse(inner.removeprefix("return ").strip(), Dialect(resolve, _CALLS, {"length": "size"}))


def jq(text: str, parameters: Mapping[str, Expr]) -> Expr:
    """Returns jq over the parameters of a task, `.name`."""

    def resolve(root: str, parts: Parts) -> Expr:
        whole = Fields(tuple(parameters.items()))
        if root != ".":
            raise UntranslatableError(f"the variable {root!r} is not known here")
        return part_of(whole, parts)

    return parse(text, Dialect(resolve, _JQ_CALLS, jq=True))


def rounds(condition: Expr, counter: Expr) -> tuple[Expr | None, int]:
    """Returns a loop's condition without its bound, and how often the loop goes back."""
    if isinstance(condition, Op) and condition.name == "and":
        first, second = (rounds(part, counter) for part in condition.args)
        return both(first[0], second[0]), min(first[1], second[1])
    if isinstance(condition, Op) and condition.name in {"<", "<=", "!="} and condition.args[0] == counter:
        bound = condition.args[1]
        if isinstance(bound, Literal) and isinstance(bound.value, int):
            return None, bound.value - (0 if condition.name == "<=" else 1)
    if counter in _all(condition):
        raise UntranslatableError("the number of rounds can only be compared with a plain number")
    return condition, ITERATIONS


def _all(expr: Expr) -> list[Expr]:
    inner = expr.args if isinstance(expr, Op) else expr.parts if isinstance(expr, Joined) else ()
    return [expr, *(found for part in inner for found in _all(part))]
