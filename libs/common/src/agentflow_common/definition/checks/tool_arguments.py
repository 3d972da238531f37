"""Checks of the arguments of tools and functions against the schemas that workers publish. Pure.

They run before any step does. Names are always checked; values only if they are not templates or references. A worker
converts its arguments, such as the text `5` to a number. So a value is wrong only if no conversion makes it fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

import msgspec

from agentflow_common import hints
from agentflow_common.definition.edge_arguments import Needs
from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.calls import NAMED_BY, Work, arguments
from agentflow_common.definition.nodes.types import AnyNode
from agentflow_common.expressions import language as expressions
from agentflow_common.places import Finding, Lines, Place, dotted

CHECKED: Final = ("tool", "function")  # the types of work whose arguments are checked
SCHEMA_DEPTH_MAX: Final = 20  # deeper levels of a schema are left to the worker
_TRUTHS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "t", "f", "y", "n", "0", "1"})
_TIMES: Final = frozenset({"date-time", "date", "time", "duration"})  # numbers are times, too


class Signature(msgspec.Struct, frozen=True):
    """The signature of a tool or function, as a worker publishes it."""

    schema: dict[str, Any] = {}  # JSON Schema of the arguments object
    # arguments whose values the schema does not describe, because the worker's own code converts them;
    # None: the worker does not list them
    unchecked: tuple[str, ...] | None = None
    aliases: dict[str, str] = {}  # other names of arguments, each with the argument's own
    branches: str = ""  # the argument that gets the outputs of the steps before if none is given

    def needs(self) -> Needs:
        """Returns the arguments that a definition has to give."""
        return Needs(tuple(self.schema.get("required", ())), self.branches, self.aliases)


def findings(definition: Definition, signatures: Mapping[tuple[str, str], Signature]) -> Iterator[Finding]:
    """Yields the problems of the arguments in a definition. signatures: the known ones, by (kind, name)."""
    steps = frozenset(node.id for node in definition.dag.nodes)
    for number, work in definition.works():
        name = getattr(work.config, NAMED_BY[work.type]) if work.type in CHECKED else ""
        signature = signatures.get((work.type, name))
        if signature is not None and signature.schema.get("type") == "object":
            here: Place = ("dag", "nodes", number, *work.path)
            yield from _of_work(here, work, name, definition.dag.nodes[number], signature, steps)


def place_of(path: Place, lines: Lines | None) -> str:
    """Returns a place in the author's terms, with the line of the nearest part that has one."""
    text = dotted(path)
    graph = (*path[1:3], *(("args", *path[5:]) if len(path) > 5 else ()))  # the same place in a graph-style text
    for written in (path, graph):
        for end in range(len(written), 1, -1):
            if lines and end > 1 + (written is path) and written[:end] in lines:
                return f"line {lines[written[:end]]}, {text}"
    return text


def _of_work(
    here: Place, work: Work, name: str, node: AnyNode, signature: Signature, steps: Collection[str]
) -> Iterator[Finding]:
    schema = signature.schema
    known: dict[str, Any] = schema.get("properties", {})
    required: list[str] = schema.get("required", [])
    given = arguments(work)
    own = f"{work.type}_args"
    listed = ", ".join(arg + ("" if arg in required else "?") for arg in known) or "none"
    seen: dict[str, str] = {}  # the arguments that are given, each with the name that the author wrote
    for written, value in given.items():
        arg = signature.aliases.get(written, written)
        place = (*here, own if written in getattr(work.config, own) else "inputs", written)
        if arg in seen:
            yield place, f"{seen[arg]!r} and {written!r} are the same argument of {work.type} {name!r}", "keep one"
        seen[arg] = written
        if arg not in known:
            if schema.get("additionalProperties") is False:
                fix = hints.did_you_mean(arg, known, f"the arguments are: {listed}")
                yield place, f"{work.type} {name!r} has no argument {arg!r}", fix
        elif signature.unchecked is not None and arg not in signature.unchecked:
            check = _Check(schema, steps)
            for at, part in _parts(node, work, arg, value):
                if text := check.mismatch(known[arg], part, 0):
                    yield (*place, *at), f"{arg} of {work.type} {name!r}: {text}", "change the value"
    if not work.config.state_args:  # with it, the shared state may provide them
        for arg in required:
            if arg not in seen:
                fix = f"add it to `{own}`; the arguments are: {listed}"
                yield here, f"{work.type} {name!r} needs the argument {arg!r}", fix


def _parts(node: AnyNode, work: Work, arg: str, value: Any) -> Iterator[tuple[Place, Any]]:
    """Yields each value that a call gets for the argument, with its place. A parallel step calls once for each item."""
    config: Any = node.config
    spread = work.path == ("config",) and getattr(config, "parallel", False) and config.for_each in {None, arg}
    if spread and isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield (number,), item
    else:
        yield (), value


class _Check:
    """The check of a value against a schema."""

    def __init__(self, root: Mapping[str, Any], steps: Collection[str]) -> None:
        self._root = root  # the schema that `$ref` points into
        self._steps = steps

    def mismatch(self, schema: Any, value: Any, depth: int) -> str:
        """Returns why a value can't fit a schema; empty if it may."""
        if not isinstance(schema, dict) or depth > SCHEMA_DEPTH_MAX or self._is_open(value):
            return ""
        if "$ref" in schema:
            return self.mismatch(self._target(str(schema["$ref"])), value, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            texts = [self.mismatch(option, value, depth + 1) for option in schema.get(keyword, ())]
            if texts and all(texts):
                return " and ".join(dict.fromkeys(texts))
        for option in schema.get("allOf", ()):
            if text := self.mismatch(option, value, depth + 1):
                return text
        return _choice(schema, value) or _type(schema, value) or _bounds(schema, value) or self._inside(
            schema, value, depth
        )  # fmt: skip

    def _is_open(self, value: Any) -> bool:
        """True for a template or a reference: its value is known only at run time."""
        if not isinstance(value, str):
            return False
        reference = expressions.parse_reference(value)
        return expressions.is_template(value) or (reference is not None and reference[0] in self._steps)

    def _target(self, ref: str) -> Any:
        found: Any = self._root
        for part in ref.removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def _inside(self, schema: dict[str, Any], value: Any, depth: int) -> str:
        if isinstance(value, list | tuple):
            for number, item in enumerate(value):
                if text := self.mismatch(schema.get("items"), item, depth + 1):
                    return f"[{number}] {text}"
        if not isinstance(value, dict):
            return ""
        known: dict[str, Any] = schema.get("properties", {})
        others = schema.get("additionalProperties")
        for name, item in value.items():
            if name not in known and others is False:
                return f"{name!r} is not one of its fields ({', '.join(known)})"
            if text := self.mismatch(known.get(name, others), item, depth + 1):
                return f"{name}: {text}"
        missing = [name for name in schema.get("required", ()) if name not in value]
        return f"the field {missing[0]!r} is missing" if missing else ""


def _choice(schema: dict[str, Any], value: Any) -> str:
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if allowed is None or str(value) in map(str, allowed):
        return ""
    return f"{_shown(value)} is not one of {', '.join(map(_shown, allowed))}"


def _type(schema: dict[str, Any], value: Any) -> str:
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not kinds or any(_FITS[kind](value, schema) if kind in _FITS else True for kind in kinds):
        return ""
    return f"{_shown(value)} is not {' or '.join(_A[kind] for kind in kinds)}"


def _number(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        return None


def _is_whole(value: Any) -> bool:
    number = _number(value)
    return number is not None and math.isfinite(number) and number == int(number)


_FITS: Final[dict[str, Callable[[Any, dict[str, Any]], bool]]] = {
    "string": lambda value, schema: isinstance(value, str) or (
        schema.get("format") in _TIMES and isinstance(value, int | float)
    ),
    "integer": lambda value, _: _is_whole(value),
    "number": lambda value, _: _number(value) is not None,
    "boolean": lambda value, _: isinstance(value, bool) or str(value).lower() in _TRUTHS or value in (0, 1),
    "null": lambda value, _: value is None,
    "array": lambda value, _: isinstance(value, list | tuple),
    "object": lambda value, _: isinstance(value, dict),
}  # fmt: skip
_A: Final = {
    "string": "a text", "integer": "a whole number", "number": "a number", "boolean": "true or false", "null": "null",
    "array": "a list", "object": "an object",
}  # fmt: skip


def _bounds(schema: dict[str, Any], value: Any) -> str:
    if isinstance(value, bool):
        return ""
    if isinstance(value, int | float):
        for keyword, fails, text in (
            ("minimum", value.__lt__, "less than"), ("maximum", value.__gt__, "more than"),
            ("exclusiveMinimum", value.__le__, "not more than"), ("exclusiveMaximum", value.__ge__, "not less than"),
        ):  # fmt: skip
            if keyword in schema and fails(schema[keyword]) is True:
                return f"{_shown(value)} is {text} {schema[keyword]}"
    length = len(value) if isinstance(value, str | list | tuple) else None
    unit = "characters" if isinstance(value, str) else "items"
    for keyword in ("minLength", "minItems"):
        if length is not None and keyword in schema and length < schema[keyword]:
            return f"it has {length} {unit}; at least {schema[keyword]} are needed"
    for keyword in ("maxLength", "maxItems"):
        if length is not None and keyword in schema and length > schema[keyword]:
            return f"it has {length} {unit}; at most {schema[keyword]} are allowed"
    return ""


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= 60 else text[:57] + "..."
