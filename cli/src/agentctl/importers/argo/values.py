"""The expressions of Argo: tags in texts, `when`, `depends`, and `{{=expr}}`. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from agentctl.importers.expression import Expr, Fields, Items, Literal, Op, Ref, UntranslatableError, with_tags
from agentctl.importers.infix import Dialect, Parts, parse

Resolve = Callable[[tuple[str, ...]], Expr]
"""Returns the meaning of a tag's parts: `("inputs", "parameters", "message")`."""

_TAG: Final = re.compile(r"\{\{(=?)((?:(?!\{\{).)*?)\}\}", re.DOTALL)  # no tag in a tag: linear on any text
_QUOTED_TAG: Final = re.compile(r"""(["'])(\{\{[^{}]*\}\})\1""")
_TASK: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_STATUSES: Final = {
    "Succeeded": "completed", "Failed": "failed", "Error": "failed", "Errored": "failed", "Skipped": "skipped",
    "Omitted": "skipped", "Running": "running",
}  # fmt: skip


def _jsonpath(source: Expr, path: Expr) -> Expr:
    text = path.value if isinstance(path, Literal) else None
    if not isinstance(source, Ref) or not isinstance(text, str) or not re.fullmatch(r"\$((\.\w+)|(\[\d+\]))*", text):
        raise UntranslatableError("only a path such as $.a.b[0] of a parameter is known")
    parts = tuple(name if name else int(index) for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", text))
    return Ref(source.root, (*source.path, *parts))


_CALLS: Final[dict[str, Callable[..., Expr]]] = {
    "jsonpath": _jsonpath,
    "asInt": lambda a: Op("integer", (a,)),
    "asFloat": lambda a: Op("number", (a,)),
    "int": lambda a: Op("integer", (a,)),
    "float": lambda a: Op("number", (a,)),
    "string": lambda a: Op("text", (a,)),
    "len": lambda a: Op("size", (a,)),
    "lower": lambda a: Op("lower", (a,)),
    "upper": lambda a: Op("upper", (a,)),
}


def expression(text: str, resolve: Resolve) -> Expr:
    """Returns an expression of `{{=...}}`, in the language expr."""

    def named(root: str, parts: Parts) -> Expr:
        return resolve((root, *map(str, parts)))

    return with_statuses(parse(text, Dialect(named, _CALLS)))


def _tag(is_expression: str, inner: str, resolve: Resolve) -> Expr:
    return expression(inner, resolve) if is_expression else resolve(tuple(inner.strip().split(".")))


def text(given: Any, resolve: Resolve) -> Expr:
    """Returns the value of a text with tags, or of a plain value with such texts in it."""
    if isinstance(given, dict):
        return Fields(tuple((str(name), text(item, resolve)) for name, item in given.items()))
    if isinstance(given, list):
        return Items(tuple(text(item, resolve) for item in given))
    if not isinstance(given, str):
        return Literal(given)
    return with_tags(given, _TAG, lambda match: _tag(match[1], match[2], resolve))


def when(given: str, resolve: Resolve) -> Expr:
    """Returns a condition of `when`: tags are put in as text, and plain words are texts."""
    whole = _TAG.fullmatch(given.strip())
    if whole is not None and "}}" not in whole[2]:
        return _tag(whole[1], whole[2], resolve)
    found: list[Expr] = []

    def noted(match: re.Match[str]) -> str:
        found.append(_tag(match[1], match[2], resolve))
        return f"tag__{len(found) - 1}"

    plain = _TAG.sub(noted, _QUOTED_TAG.sub(r"\2", given))

    def named(root: str, parts: Parts) -> Expr:
        if root.startswith("tag__") and not parts:
            return found[int(root.removeprefix("tag__"))]
        return Literal(".".join([root, *map(str, parts)]))

    return with_statuses(_as_text(parse(plain, Dialect(named, _CALLS))))


def _as_text(expr: Expr) -> Expr:
    """Compares as Argo does: a parameter is a text, whatever it looks like."""
    if not isinstance(expr, Op):
        return expr
    args = tuple(map(_as_text, expr.args))
    if expr.name in {"==", "!="} and any(isinstance(arg, Literal) for arg in args):
        args = tuple(
            Literal(arg.value if isinstance(arg.value, str) else json.dumps(arg.value))
            if isinstance(arg, Literal)
            else arg
            if all(isinstance(other, Literal) and isinstance(other.value, str) for other in args if other is not arg)
            else Op("text", (arg,))
            for arg in args
        )
    elif expr.name in {"<", "<=", ">", ">="}:
        args = tuple(arg if isinstance(arg, Literal) else Op("number", (arg,)) for arg in args)
        args = tuple(_as_float(arg) for arg in args)
    return Op(expr.name, args)


def _as_float(expr: Expr) -> Expr:
    is_number = isinstance(expr, Literal) and isinstance(expr.value, int | float) and not isinstance(expr.value, bool)
    return Literal(float(expr.value)) if is_number and isinstance(expr, Literal) else expr


def listed(expr: Expr) -> Expr:
    """Returns the list that a text of JSON is, and any other expression as it is."""
    if isinstance(expr, Literal) and isinstance(expr.value, str):
        try:
            return Literal(json.loads(expr.value))
        except ValueError:
            raise UntranslatableError("it is not a list in JSON") from None
    return expr


def with_statuses(expr: Expr) -> Expr:
    """Returns a condition with the statuses of steps in our words: `Succeeded` is `completed`."""
    if not isinstance(expr, Op):
        return expr
    args = tuple(map(with_statuses, expr.args))
    if expr.name in {"==", "!="} and any(isinstance(arg, Ref) and arg.path == ("status",) for arg in args):
        args = tuple(
            Literal(_STATUSES.get(str(arg.value), arg.value)) if isinstance(arg, Literal) else arg for arg in args
        )
    return Op(expr.name, args)


def depends(given: str, ids: Mapping[str, str]) -> tuple[dict[str, None], Expr | None, set[str]]:
    """Returns the tasks that `depends` names, a condition unless all have to succeed, and those that may fail.

    ids: the id of each task.
    """
    named: dict[str, None] = {}
    may_fail: set[str] = set()
    numbers = {name: f"task__{number}" for number, name in enumerate(ids)}
    names = dict(enumerate(ids))

    def hidden(match: re.Match[str]) -> str:
        return numbers.get(match[0], match[0])

    def resolve(root: str, parts: Parts) -> Expr:
        if not root.startswith("task__"):
            raise UntranslatableError(f"there is no task {root!r}")
        name = names[int(root.removeprefix("task__"))]
        named[name] = None
        status = Ref(ids[name], ("status",))
        if not parts:
            return Op("in", (status, Literal(["completed", "skipped"])))
        found = _STATUSES.get(str(parts[0]).removeprefix("Any").removeprefix("All"))
        if found is None:
            raise UntranslatableError(f"the status {parts[0]!r} is not known here")
        if found == "failed":
            may_fail.add(name)
        return Op("==", (status, Literal(found)))

    expr = parse(_TASK.sub(hidden, given), Dialect(resolve))
    simple = re.fullmatch(r"[\w\s&.-]+", given) and not may_fail and not re.search(r"\.(?!Succeeded\b)", given)
    return named, None if simple else expr, may_fail
