"""The document that other engines pass from state to state, as expressions of the steps that made it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from agentctl.importers.expression import (
    Expr,
    Fields,
    Items,
    Joined,
    Literal,
    Op,
    Ref,
    UntranslatableError,
    is_large,
    part_of,
    value,
)
from agentctl.importers.flow import Flow
from agentctl.importers.infix import Parts
from agentctl.importers.source import Part


@dataclass(frozen=True, slots=True)
class Document:
    """A value, what was laid over parts of it since, and named variables."""

    base: Expr
    laid: tuple[tuple[Parts, Expr], ...] = ()
    variables: tuple[tuple[str, Expr], ...] = ()

    def at(self, path: Parts) -> Expr:
        """Returns the part at a path. Raises UntranslatableError if it can't be said."""
        if not path:
            return self.whole()
        for place, expr in reversed(self.laid):
            if path[: len(place)] == place:
                return part_of(expr, path[len(place) :])
            if place[: len(path)] == path:
                raise UntranslatableError(f"{'.'.join(map(str, path))!r} has parts of several steps: name each part")
        return part_of(self.base, path)

    def put(self, path: Parts, expr: Expr) -> Document:
        """Returns the document with a value at a path; all of it for the empty path."""
        if not path:
            return replace(self, base=expr, laid=())
        kept = tuple((place, old) for place, old in self.laid if place[: len(path)] != path)
        return replace(self, laid=(*kept, (path, expr)))

    def whole(self) -> Expr:
        """Returns the whole value. Raises UntranslatableError if it has parts of several steps."""
        if not self.laid:
            return self.base
        fields = dict(self.base.fields) if isinstance(self.base, Fields) else None
        fields = {} if self.base == Literal({}) else fields
        if fields is None or any(len(place) > 1 for place, _ in self.laid):
            raise UntranslatableError("the value has parts of several steps: name the parts that are needed")
        return Fields(tuple({**fields, **{str(place[0]): expr for place, expr in self.laid}}.items()))

    def arguments(self) -> dict[str, Any]:
        """Returns the value as the arguments of a call: its fields if they are known, else `input`."""
        try:
            whole = self.whole()
        except UntranslatableError:
            return {"input": value(self.base), **{str(place[-1]): value(expr) for place, expr in self.laid}}
        return (
            {name: value(item) for name, item in whole.fields} if isinstance(whole, Fields) else {"input": value(whole)}
        )

    def outputs(self) -> dict[str, Any]:
        """Returns the value as the outputs of a workflow."""
        found = self.arguments()
        if len(found) > 1 and "input" in found and not isinstance(self.base, Fields):
            del found["input"]
        return {"result": found["input"]} if list(found) == ["input"] else found

    def assign(self, name: str, expr: Expr) -> Document:
        """Returns the document with a variable."""
        return replace(self, variables=tuple({**dict(self.variables), name: expr}.items()))


def merged(documents: Iterable[Document], carried: Iterable[Document] = ()) -> Document:
    """Returns what is known where several ways meet: the output of the latest step that was not skipped.

    documents: in the order of the steps that made them.
    carried: what loops bring back to this place. It counts from the second round on.
    """
    first, *others = reversed([*documents, *carried])
    loops = bool(list(carried))
    for other in others:
        ours, theirs = dict(first.laid), dict(other.laid)
        if loops:  # before the first round the part was where the document had it
            before = {place: found for place in ours if (found := _part(other, place)) is not None}
            theirs = {**before, **theirs}
        laid = {place: _either(ours.get(place), theirs.get(place)) for place in {**ours, **theirs}}
        mine, yours = dict(first.variables), dict(other.variables)
        variables = {name: _either(mine.get(name), yours.get(name)) for name in {**mine, **yours}}
        first = Document(_either(first.base, other.base), tuple(laid.items()), tuple(variables.items()))
    return first


def whole_of(document: Document, part: Part) -> Expr:
    """Returns the whole value, or what it was before parts were added, with a remark about `part`."""
    try:
        return document.whole()
    except UntranslatableError as error:
        part.remark(str(error), "here it is the value without what was added to it")
        return document.base


def settled(document: Document, flow: Flow, step: str) -> Document:
    """Returns the document with short expressions: the step, which did nothing, gathers the values of long ones."""
    parts: dict[str, Expr] = {"whole": document.base} if is_large(document.base) else {}
    names = {place: f"part_{number}" for number, (place, _) in enumerate(document.laid)}
    parts |= {names[place]: expr for place, expr in document.laid if is_large(expr)}
    parts |= {f"var_{name}": expr for name, expr in document.variables if is_large(expr)}
    if not parts:
        return document
    gathered = {name: value(expr) for name, expr in parts.items()}
    flow.steps[step].node = {
        "type": "function", "config": {"function_name": "pick", "function_args": {"value": gathered}},
    }  # fmt: skip

    def short(name: str, expr: Expr) -> Expr:
        return Ref(step, ("output", name)) if name in parts else expr

    return Document(
        short("whole", document.base),
        tuple((place, short(names[place], expr)) for place, expr in document.laid),
        tuple((name, short(f"var_{name}", expr)) for name, expr in document.variables),
    )


def _part(document: Document, place: Parts) -> Expr | None:
    try:
        return document.at(place)
    except UntranslatableError:
        return None


def _either(first: Expr | None, second: Expr | None) -> Expr:
    """Returns the first value, unless its step was skipped: then the second one."""
    if first is None or second is None or first == second:
        return first or second or Literal(None)
    if isinstance(first, Fields) and isinstance(second, Fields):
        ours, theirs = dict(first.fields), dict(second.fields)
        if list(ours) == list(theirs):
            return Fields(tuple((name, _either(ours[name], theirs[name])) for name in ours))
    first, second = _origin(first), _origin(second)
    if isinstance(first, Op) and first.name == "first":
        return Op("first", (first.args[0], _either(first.args[1], second)))
    if isinstance(first, Ref):
        return Op("first", (first, second))
    step = next(_steps(first), None)
    if step is None:
        return Op("first", (second, first)) if next(_steps(second), None) else first
    return Op("if", (Op("!=", (Ref(step, ("status",)), Literal("skipped"))), first, second))


def _origin(expr: Expr) -> Expr:
    """Returns the output of a step instead of an object with each of its fields."""
    if isinstance(expr, Fields) and expr.fields:
        parents = {Ref(item.root, item.path[:-1]) for name, item in expr.fields if isinstance(item, Ref)
                   and item.path[-1:] == (name,)}  # fmt: skip
        if len(parents) == 1 and all(isinstance(item, Ref) for _, item in expr.fields):
            return next(iter(parents))
    return expr


def _steps(expr: Expr) -> Iterator[str]:
    """Yields the steps that an expression reads."""
    match expr:
        case Ref(root, ("output" | "error", *_)):
            yield root
        case Op(_, parts) | Joined(parts) | Items(parts):
            for part in parts:
                yield from _steps(part)
        case Fields(fields):
            for _, part in fields:
                yield from _steps(part)
