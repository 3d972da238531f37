"""A Jinja2 dialect for untrusted templates: bounded in size, in work and in the objects it can
reach.

A value can only grow through an operator, a filter, a call, a container literal or a capture. Each
of them goes through a meter. The meter refuses a result heavier than `VALUE_WEIGHT_MAX`, counts one
unit of work, and checks the deadline.

Filters, tests, methods and globals are allow-lists. Nothing is computed at compile time, so a
template that is never rendered never computes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from jinja2 import StrictUndefined, nodes, pass_context
from jinja2.compiler import Frame
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.runtime import Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from agentflow_common import json_values
from agentflow_common.expressions.sandbox import (
    TEXT_FILTERS,
    Absent,
    ExpressionError,
    Generator,
    NullPart,
    as_method_calls,
    lookup,
    method_of,
    of_text,
    sliced,
    urlencode,
)
from agentflow_common.json_values import JsonError
from agentflow_prompt.meter import INT_BITS_MAX, VALUE_WEIGHT_MAX, BoundError, bounded, metered, tick_now, weigh

OUTPUT_CHARS_MAX: Final = 2 * 1024 * 1024
RANGE_MAX: Final = 10_000

_FILTER_NAMES: Final = """abs batch capitalize center count d default dictsort e escape first float groupby indent
int items join last length list lower map max min reject rejectattr replace reverse round select selectattr slice sort
string striptags sum title tojson trim truncate unique upper urlencode wordcount wordwrap"""
_TEXT_METHODS: Final = """capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower
isnumeric isspace isupper lower lstrip partition removeprefix removesuffix rfind rsplit rstrip split splitlines
startswith strip swapcase title upper"""
_FILTERS: Final = frozenset(_FILTER_NAMES.split())
_METHODS: Final[dict[type, frozenset[str]]] = {
    str: frozenset(_TEXT_METHODS.split()),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    LoopContext: frozenset({"changed", "cycle"}),
}
_OF_LOOPS: Final = frozenset(
    {"index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0", "previtem", "nextitem"}
)
SELF: Final = "self\u00b7"  # Jinja defines a `self`; with this name an input may be called `self` too


def to_text(value: Any) -> str:
    """Returns a value as text for a prompt: texts as they are, null, lists and objects as JSON."""
    if isinstance(value, str):
        return value if type(value) is str else str.__str__(value)
    if isinstance(value, NullPart):
        return "null"
    if isinstance(value, Undefined):
        return str(value)  # StrictUndefined raises an error that names the variable
    if value is None or isinstance(value, bool | int | float | Mapping | list | tuple):
        try:
            return json_values.text_of(bounded(value))
        except JsonError as error:
            raise SecurityError(f"a value can't be written into a prompt: {error.message}") from None
    raise SecurityError(f"a {type(value).__name__} can't be written into a prompt; write a text, a number or a list")


@pass_context
def _finalize(_context: Context, value: Any) -> str:
    return to_text(value)


def _join(parts: Iterable[str]) -> str:
    tick_now()
    held = list(parts)
    if sum(map(len, held)) > VALUE_WEIGHT_MAX:
        raise BoundError(f"a captured text grew beyond {VALUE_WEIGHT_MAX:,} characters; build a smaller one")
    return "".join(held)


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a filter so that its inputs and its result are weighed.

    Widths are bounded, because padding makes a long text from a short one.
    """

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        tick_now()
        values = [a for a in (*args, *kwargs.values()) if not isinstance(a, Context) and hasattr(a, "__len__")]
        for value in values:
            bounded(value)
        widths = [a for a in (*args[1:], *kwargs.values()) if isinstance(a, int)]
        if any(abs(width) > RANGE_MAX for width in widths):
            raise BoundError(f"the filter {name!r} takes numbers up to {RANGE_MAX:,}")
        if name == "replace" and len(args) > 2:
            _check_replace(*map(to_text, args[-3:] if not isinstance(args[-1], int) else args[-4:-1]))
        if name == "indent":
            _check_product(to_text(args[0]).count("\n") + 1, _indent_width(args, kwargs))
        if name == "join":
            args, kwargs = _join_arguments(*args, **kwargs)
            _check_product(len(args[1]), len(args[2]))
        result = function(*args, **kwargs)
        if isinstance(result, Iterator):  # map, select ... are lazy: their work is counted when it is done
            return bounded(list(_counted(result)))
        return bounded(result)

    return guarded


def _join_arguments(
    context: Any, value: Any, d: Any = "", attribute: str | int | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns the arguments of Jinja's `join`, with each item as text for a prompt."""
    items = (item if attribute is None else _field(item, attribute) for item in _counted(value))
    return (context, bounded([to_text(item) for item in items]), to_text(d)), {}


def _field(value: Any, path: str | int) -> Any:
    return functools.reduce(lookup, path.split(".") if isinstance(path, str) else [path], value)


def _replace(value: Any, old: Any, new: Any, count: int = -1) -> str:
    return to_text(value).replace(to_text(old), to_text(new), count)


def _indent_width(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    width = kwargs.get("width", args[1] if len(args) > 1 else 4)
    return len(width) if isinstance(width, str) else int(width)


def _check_replace(text: str, old: str, new: str) -> None:
    _check_product(text.count(old) if old else len(text) + 1, len(new))


def _check_product(count: int, size: int) -> None:
    if count * size > VALUE_WEIGHT_MAX:
        raise BoundError(f"a value would grow beyond {VALUE_WEIGHT_MAX:,} characters; build a smaller one")


def _counted(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        tick_now()
        yield value


def _range(*args: int) -> range:
    values = range(*args)
    if len(values) > RANGE_MAX:
        raise BoundError(f"range() makes at most {RANGE_MAX:,} numbers; loop over fewer")
    return values


class _Generator(Generator):
    """Sends every literal container through the meter, beside `~` and slices."""

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        self._metered(super().visit_List, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        if node.ctx == "load":
            self._metered(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self._metered(super().visit_Dict, node, frame)

    def visit_For(self, node: nodes.For, frame: Frame) -> None:  # noqa: N802
        if node.recursive:
            self.fail("recursive loops are not allowed; use a plain loop", node.lineno)
        super().visit_For(node, frame)

    def _metered(self, visit: Callable[[Any, Frame], None], node: nodes.Expr, frame: Frame) -> None:
        self.write("environment.meter(")
        visit(node, frame)
        self.write(")")


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """The environment of every prompt.

    Its `concat`, operators, calls and loops are metered (see the module).
    """

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    concat = staticmethod(_join)

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=False, optimized=False, cache_size=0, finalize=_finalize,
            keep_trailing_newline=False, trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        own = {"replace": _replace, "string": to_text, "urlencode": urlencode}
        plain = {*TEXT_FILTERS, "indent", "wordwrap"}
        found = {name: own.get(name, f) for name, f in self.filters.items() if name in _FILTERS}
        self.filters = {n: _guarded(n, of_text(f, to_text) if n in plain else f) for n, f in found.items()}
        self.filters["_counted"] = lambda values: _counted(_items(values))
        self.globals = {"range": _range, "namespace": self.globals["namespace"]}

    def meter(self, value: Any) -> Any:
        tick_now()
        return bounded(value)

    def concatenate(self, parts: Sequence[Any]) -> str:
        return _join(map(to_text, parts))

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext) and attribute in _OF_LOOPS:
            return getattr(obj, attribute)
        if isinstance(obj, Namespace):
            try:
                return getattr(obj, attribute)
            except AttributeError:
                return Absent(hint=f"the namespace has no field {attribute!r}")
        return lookup(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self.getattr(obj, argument) if isinstance(obj, LoopContext | Namespace) else lookup(obj, argument)

    def sliced(self, *parts: Any) -> Any:
        """Returns a part of a text or a list, `x[1:3]`."""
        try:
            return self.meter(sliced(*parts))
        except ExpressionError as error:
            raise SecurityError(error.message) from None

    def invoke(self, obj: Any, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a method of a value, for `obj.name(...)` in a prompt."""
        for jinjas_own in ("_loop_vars", "_block_vars"):
            kwargs.pop(jinjas_own, None)
        for value in args:
            bounded(value)
        if isinstance(obj, Namespace) and isinstance(found := self.getattr(obj, name), Macro):
            return found(*args, **kwargs)
        try:
            result = method_of(obj, name, _METHODS)(*args, **kwargs)
        except ExpressionError as error:
            raise SecurityError(error.message) from None
        return list(result) if isinstance(obj, Mapping) and name != "get" else result

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        tick_now()
        result = self.invoke(*args, **kwargs) if obj == self.invoke else super().call(context, obj, *args, **kwargs)
        if isinstance(result, str | list | tuple | dict):
            return bounded(result)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        tick_now()
        if operator == "**":
            _check_power(left, right)
        elif operator == "*":
            _check_times(left, right)
        elif operator == "%" and isinstance(left, str):
            raise BoundError("'%' does not format text here; write the values between braces or use '~'")
        elif operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
            _check_product(len(left) + len(right), 1)
        return bounded(super().call_binop(context, operator, left, right))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        refuse(tree)
        as_method_calls(tree)
        for name_ in tree.find_all(nodes.Name):
            name_.name = SELF if name_.name == "self" else name_.name
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
        return tree


def _items(values: Any) -> Any:
    if isinstance(values, Undefined):
        iter(values)  # StrictUndefined raises an error that names the variable
    if isinstance(values, str | Mapping | list | tuple | range) or hasattr(values, "__iter__"):
        return values
    raise TemplateRuntimeError(f"a {type(values).__name__} can't be looped over; pass a list")


def _check_power(base: Any, exponent: Any) -> None:
    if not isinstance(base, int | float) or not isinstance(exponent, int | float):
        raise BoundError("'**' takes numbers")
    if abs(exponent) > 64 or (isinstance(base, int) and base.bit_length() * abs(exponent) > INT_BITS_MAX):
        raise BoundError(f"'**' would make a number of more than {INT_BITS_MAX} bits; use smaller numbers")


def _check_times(left: Any, right: Any) -> None:
    for many, count in ((left, right), (right, left)):
        if isinstance(many, str | list | tuple) and isinstance(count, int):
            _check_product(max(1, weigh(many)), max(0, count))


_REFUSED: Final[dict[type[nodes.Node], str]] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from ... import",
    nodes.Extends: "extends",
    nodes.Block: "block",
}


class RefusedError(SecurityError):
    """The template uses a construct that prompts don't have, at the line `lineno`."""

    def __init__(self, message: str, lineno: int) -> None:
        super().__init__(message)
        self.lineno = lineno


def refuse(tree: nodes.Template) -> None:
    """Raises RefusedError if the template uses anything outside of it."""
    for node in tree.find_all(tuple(_REFUSED)):
        raise RefusedError(f"'{_REFUSED[type(node)]}' is not allowed; a prompt is one template", node.lineno)
    for number in tree.find_all(nodes.Const):
        if isinstance(number.value, float) and not math.isfinite(number.value):
            raise RefusedError("a number is too large; use a smaller one", number.lineno)
    known = _FILTERS | {"_counted"}
    for filter_ in tree.find_all(nodes.Filter):
        if filter_.name not in known:
            allowed = ", ".join(sorted(_FILTERS))
            raise RefusedError(f"no filter named {filter_.name!r}; use one of {allowed}", filter_.lineno)


__all__ = ["SELF", "BoundError", "Macro", "PromptEnvironment", "RefusedError", "metered", "to_text", "weigh"]
