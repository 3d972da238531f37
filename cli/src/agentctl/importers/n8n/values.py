"""The expressions of n8n: `={{ $json.x }}`, and the conditions of IF and Switch. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agentctl.importers.documents import Document
from agentctl.importers.expression import Expr, Fields, Items, Literal, Op, Ref, UntranslatableError, with_tags
from agentctl.importers.flow import translated
from agentctl.importers.infix import CHARS_MAX, Dialect, Parts, parse
from agentctl.importers.source import Part

_TAG: Final = re.compile(r"\{\{((?:(?!\{\{).)*?)\}\}", re.DOTALL)  # no tag in a tag: linear on any text
_OF_NODE: Final = re.compile(
    r"""\$\(\s*(['"])(?P<a>.+?)\1\s*\)\s*\.(?:item|first\(\)|last\(\))\.json|\$node\[\s*(['"])(?P<b>.+?)\3\s*\]\.json"""
)
_OWN: Final = re.compile(r"\$input\.(?:item|first\(\)|last\(\))\.json|\$items\(\)\[0\]\.json")
_CALLS: Final[dict[str, Callable[..., Expr]]] = {
    "toLowerCase": lambda a: Op("lower", (a,)),
    "toUpperCase": lambda a: Op("upper", (a,)),
    "includes": lambda a, b: Op("contains", (a, b)),
    "startsWith": lambda a, b: Op("starts", (a, b)),
    "endsWith": lambda a, b: Op("ends", (a, b)),
    "toString": lambda a: Op("text", (a,)),
    "join": lambda a, b=Literal(","): Op("join", (a, b)),
    "String": lambda a: Op("text", (a,)),
    "Number": lambda a: Op("number", (a,)),
    "parseInt": lambda a: Op("integer", (a,)),
}


@dataclass(frozen=True)
class Scope:
    """The names that expressions of a node can use."""

    document: Document
    nodes: Mapping[str, Document]
    """The output of each node before, by name."""

    def resolve(self, root: str, parts: Parts, names: list[str]) -> Expr:
        """Returns the meaning of a path."""
        if root == "$json":
            return self.document.at(parts)
        if root.startswith("$node__"):
            name = names[int(root.removeprefix("$node__"))]
            if name not in self.nodes:
                raise UntranslatableError(f"the node {name!r} does not come before")
            return self.nodes[name].at(parts)
        if (root, parts) == ("$execution", ("id",)):
            return Ref("run")
        if root == "$workflow" and parts in {("name",), ("id",)}:
            return Ref("workflow")
        raise UntranslatableError(f"{'.'.join([root, *map(str, parts)])!r} is not known here")


def expression(text: str, scope: Scope) -> Expr:
    """Returns a JavaScript expression."""
    if len(text) > CHARS_MAX:
        raise UntranslatableError(f"the expression is longer than {CHARS_MAX:,} characters")
    names: list[str] = []

    def named(match: re.Match[str]) -> str:
        names.append(match["a"] or match["b"])
        return f"$node__{len(names) - 1}"

    plain = _OF_NODE.sub(named, _OWN.sub("$json", text)).strip().rstrip(";")
    return parse(plain, Dialect(lambda root, parts: scope.resolve(root, parts, names), _CALLS, {"length": "size"}))


def read(part: Part, scope: Scope) -> Expr:
    """Returns a parameter with expressions anywhere in it. What can't be translated is null, with a remark."""
    if isinstance(part.value, dict):
        return Fields(tuple((name, read(item, scope)) for name, item in part.fields()))
    if isinstance(part.value, list):
        return Items(tuple(read(item, scope) for item in part.items()))
    if isinstance(part.value, str) and part.value.startswith("="):
        return translated(part, lambda: text(part.text()[1:], scope), Literal(None))
    return Literal(part.value)


def text(given: str, scope: Scope) -> Expr:
    """Returns a text with `{{ }}`."""
    return with_tags(given, _TAG, lambda match: expression(match[1], scope))


_OPERATIONS: Final = {
    "equal": "==", "equals": "==", "notEqual": "!=", "notEquals": "!=", "larger": ">", "gt": ">", "largerEqual": ">=",
    "gte": ">=", "smaller": "<", "lt": "<", "smallerEqual": "<=", "lte": "<=", "contains": "contains",
    "startsWith": "starts", "endsWith": "ends", "regex": "matches", "after": ">", "before": "<",
}  # fmt: skip
_NEGATED: Final = {"notContains": "contains", "notStartsWith": "starts", "notEndsWith": "ends", "notRegex": "matches"}


def _compared(operation: str, left: Expr, right: Expr) -> Expr:
    if operation in _OPERATIONS:
        return Op(_OPERATIONS[operation], (left, right))
    if operation in _NEGATED:
        return Op("not", (Op(_NEGATED[operation], (left, right)),))
    if operation in {"exists", "isNotEmpty", "notEmpty"}:
        return Op("and", (Op("!=", (left, Literal(None))), Op("!=", (left, Literal("")))))
    if operation in {"notExists", "isEmpty", "empty"}:
        return Op("or", (Op("==", (left, Literal(None))), Op("==", (left, Literal("")))))
    if operation in {"true", "false"}:
        return Op("==", (left, Literal(operation == "true")))
    raise UntranslatableError(f"the test {operation!r} is not known here")


def conditions(part: Part, scope: Scope) -> Expr:
    """Returns the condition of an IF, or of one rule of a Switch: in the shape of version 2, or that of version 1."""
    sign = "and"
    tests: list[Expr] = []
    given = part["conditions"] if part["conditions"] else part
    if isinstance(given["conditions"].value, list):
        sign = given["combinator"].text("and")
        for item in given["conditions"].items():
            left, right = read(item["leftValue"], scope), read(item["rightValue"], scope)
            tests.append(_compared(item["operator"]["operation"].text("equals"), left, right))
    else:
        sign = "or" if part["combineOperation"].text() == "any" else "and"
        for kind, items in given.fields():
            for item in items.items():
                left, right = read(item["value1"], scope), read(item["value2"], scope)
                default = "equal" if kind in {"string", "boolean"} else "smaller"
                tests.append(_compared(item["operation"].text(default), left, right))
    return combined(sign, tests)


def combined(sign: str, tests: list[Expr]) -> Expr:
    """Returns a condition of several tests."""
    found: Expr | None = None
    for test in tests:
        found = test if found is None else Op("or" if sign == "or" else "and", (found, test))
    return Literal(True) if found is None else found


def test(operation: str, left: Any, right: Any) -> Expr:
    """Returns one test of two expressions."""
    return _compared(operation, left, right)
