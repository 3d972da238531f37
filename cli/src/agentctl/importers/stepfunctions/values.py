"""The expressions of Step Functions: paths, intrinsic functions, JSONata, and the rules of a choice. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from agentctl.importers.documents import Document
from agentctl.importers.expression import (
    Expr,
    Fields,
    Items,
    Joined,
    Literal,
    Op,
    Ref,
    UntranslatableError,
    part_of,
)
from agentctl.importers.flow import item_of, translated
from agentctl.importers.infix import Dialect, Parts, parse
from agentctl.importers.source import Part

_JSONATA: Final = re.compile(r"\{%(.*)%\}\Z", re.DOTALL)


@dataclass(frozen=True)
class Scope:
    """The names that expressions of a state can use."""

    document: Document
    start: Expr
    """The input of the execution."""
    state: str
    level: int = 0
    """The map around the state: 1 for one in no other map, 0 for none."""
    result: Expr | None = None
    """The result of the state's work, for JSONata."""
    error: Expr | None = None
    extra: dict[str, Expr] = field(default_factory=dict)

    def resolve(self, root: str, parts: Parts) -> Expr:
        """Returns the meaning of a path."""
        match root, parts:
            case "$", _:
                return self.document.at(parts)
            case (("$$" | "$states"), _):
                return self._context(parts[1:] if root == "$states" and parts[:1] == ("context",) else parts)
            case "States", ():
                return Literal(None)
            case _ if (found := dict(self.document.variables).get(root.removeprefix("$"))) is not None:
                return part_of(found, parts)
        raise UntranslatableError(f"{'.'.join([root, *map(str, parts)])!r} is not known here")

    def _context(self, parts: Parts) -> Expr:  # noqa: PLR0911  (a table of cases)
        match parts:
            case ("input", *path):
                return self.document.at(tuple(path))
            case ("result", *path) if self.result is not None:
                return part_of(self.result, tuple(path))
            case ("errorOutput", *path) if self.error is not None:
                return part_of(self.error, tuple(path))
            case ("Execution", "Input", *path):
                return part_of(self.start, tuple(path))
            case ("Execution", "Id" | "Name"):
                return Ref("run")
            case ("StateMachine", "Name"):
                return Ref("workflow")
            case ("State", "Name"):
                return Literal(self.state)
            case ("Map", "Item", "Value", *path) if self.level:
                return Ref(item_of(self.level), tuple(path))
            case ("Map", "Item", "Index") if self.level:
                return Ref(item_of(self.level, "index"))
        raise UntranslatableError(f"{'.'.join(map(str, parts))!r} of the context is not known here")


def _format(_: Expr, text: Expr, *args: Expr) -> Expr:
    if not isinstance(text, Literal) or str(text.value).count("{}") != len(args):
        raise UntranslatableError("States.Format needs a plain text with a {} for each value")
    parts: list[Expr] = []
    for number, piece in enumerate(str(text.value).split("{}")):
        parts += [Literal(piece)] if piece else []
        parts += [args[number]] if number < len(args) else []
    return Joined(tuple(parts))


def _get(_: Expr, items: Expr, index: Expr) -> Expr:
    if not isinstance(index, Literal) or not isinstance(index.value, int):
        raise UntranslatableError("an index that is computed is not known here")
    return part_of(items, (index.value,))


_CALLS: Final[dict[str, Callable[..., Expr]]] = {
    "Format": _format,
    "Array": lambda _, *items: Items(items),
    "ArrayLength": lambda _, items: Op("size", (items,)),
    "ArrayContains": lambda _, items, item: Op("in", (item, items)),
    "ArrayGetItem": _get,
    "MathAdd": lambda _, a, b: Op("+", (a, b)),
    "$count": lambda a: Op("size", (a,)),
    "$length": lambda a: Op("size", (a,)),
    "$exists": lambda a: Op("known", (a,)),
    "$not": lambda a: Op("not", (a,)),
    "$string": lambda a: Op("text", (a,)),
    "$number": lambda a: Op("number", (a,)),
    "$boolean": lambda a: a,
    "$uppercase": lambda a: Op("upper", (a,)),
    "$lowercase": lambda a: Op("lower", (a,)),
    "$sum": lambda a: Op("sum", (a,)),
    "$join": lambda a, b=Literal(""): Op("join", (a, b)),
    "$contains": lambda a, b: Op("contains", (a, b)),
}


def expression(text: str, scope: Scope) -> Expr:
    """Returns a path, an intrinsic function or JSONata."""
    whole = _JSONATA.match(text.strip())
    return parse((whole[1] if whole else text).strip(), Dialect(scope.resolve, _CALLS))


def payload(part: Part, scope: Scope, *, is_path: bool = False) -> Expr:
    """Returns a payload template: fields that end with `.$` are paths, texts in `{% %}` are JSONata.

    A part that can't be translated is null, with a remark.
    """
    if isinstance(part.value, dict):
        return Fields(
            tuple(
                (name.removesuffix(".$"), payload(item, scope, is_path=name.endswith(".$")))
                for name, item in part.fields()
            )
        )
    if isinstance(part.value, list):
        return Items(tuple(payload(item, scope) for item in part.items()))
    if isinstance(part.value, str) and (is_path or _JSONATA.match(part.value.strip())):
        return translated(part, lambda: expression(part.text(), scope), Literal(None))
    return Literal(part.value)


_COMPARED: Final = {
    "Equals": "==", "GreaterThan": ">", "GreaterThanEquals": ">=", "LessThan": "<", "LessThanEquals": "<=",
}  # fmt: skip
_COMPARATOR: Final = re.compile(
    r"(?:String|Numeric|Boolean|Timestamp)(Equals|GreaterThanEquals|GreaterThan|LessThanEquals|LessThan)(Path)?\Z"
)
_TYPES: Final = {"IsString": "string", "IsBoolean": "bool", "IsNumeric": "double"}


def rule(part: Part, scope: Scope) -> Expr:  # noqa: PLR0911  (a table of cases)
    """Returns the condition of one rule of a choice."""
    if "Condition" in part:
        return expression(part["Condition"].text(), scope)
    for name, sign in (("And", "and"), ("Or", "or")):
        if name in part:
            inner = [rule(item, scope) for item in part[name].items()]
            found = inner[0]
            for other in inner[1:]:
                found = Op(sign, (found, other))
            return found
    if "Not" in part:
        return Op("not", (rule(part["Not"], scope),))
    left = expression(part["Variable"].text(), scope)
    for name, item in part.fields():
        if (match := _COMPARATOR.match(name)) is not None:
            right = expression(item.text(), scope) if match[2] else Literal(item.value)
            return Op(_COMPARED[match[1]], (left, right))
        if name == "IsPresent":
            known = Op("known", (left,)) if isinstance(left, Ref) and left.path else Op("!=", (left, Literal(None)))
            return known if item.value else Op("not", (known,))
        if name == "IsNull":
            return Op("==" if item.value else "!=", (left, Literal(None)))
        if name == "StringMatches":
            text = item.text().replace(r"\*", "\x00")
            if "*" not in text:
                return Op("==", (left, Literal(text.replace("\x00", "*"))))
            pattern = "^" + ".*".join(map(re.escape, text.split("*"))).replace("\x00", r"\*") + "$"
            return Op("matches", (left, Literal(pattern)))
        if name in _TYPES or name == "IsTimestamp":
            raise UntranslatableError(f"the test {name} is not known here")
    raise UntranslatableError("the rule has no test that is known here")


def exclusive(rules: list[Expr]) -> bool:
    """True if at most one of the rules can hold: they compare one value with different texts or numbers."""
    if not all(isinstance(rule, Op) and rule.name == "==" and isinstance(rule.args[1], Literal) for rule in rules):
        return False
    sides = [(rule.args[0], rule.args[1]) for rule in rules if isinstance(rule, Op)]
    return len({left for left, _ in sides}) == 1 and len({repr(right) for _, right in sides}) == len(rules)
