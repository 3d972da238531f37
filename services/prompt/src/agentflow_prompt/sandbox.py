"""A Jinja2 dialect that a stranger's template can run in: bounded in size, in work and in what it can reach.

How the bounds hold: a value can only grow through an operator, a filter, a call, a container literal or a capture, and
each of them goes through a meter here that refuses a result heavier than `VALUE_WEIGHT_MAX`, counts one unit of work
and looks at the deadline. Filters, tests, methods and globals are allow-lists. Nothing is folded at compile time, so a
template that is never rendered never computes.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from jinja2 import StrictUndefined, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.runtime import Context, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

OUTPUT_CHARS_MAX: Final = 2 * 1024 * 1024
VALUE_WEIGHT_MAX: Final = 8 * 1024 * 1024  # characters plus 16 for each element: what one value may hold
RANGE_MAX: Final = 10_000
WORK_MAX: Final = 200_000  # iterations, calls, filters and operators of one rendering
RENDER_S_MAX: Final = 2.0
INT_BITS_MAX: Final = 256
_NODE_WEIGHT: Final = 16

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
}


class BoundError(SecurityError):
    """The template asks for more than a bound allows."""


class Meter:
    """What one rendering has used up. deadline: of `time.monotonic`."""

    __slots__ = ("deadline", "left")

    def __init__(self) -> None:
        self.left = WORK_MAX
        self.deadline = time.monotonic() + RENDER_S_MAX

    def tick(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise BoundError(f"the template does more than {WORK_MAX:,} operations; loop over fewer items")
        if time.monotonic() > self.deadline:
            raise BoundError(f"the template ran longer than {RENDER_S_MAX:g} s; loop over fewer items")


_meter: contextvars.ContextVar[Meter | None] = contextvars.ContextVar("agentflow_prompt_meter", default=None)


@contextlib.contextmanager
def metered() -> Iterator[Meter]:
    meter = Meter()
    token = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(token)


def _tick() -> None:
    meter = _meter.get()
    if meter is not None:
        meter.tick()


def weigh(value: Any, limit: int = VALUE_WEIGHT_MAX) -> int:
    """Characters plus a fee for each element, counting shared parts as often as they appear; stops above `limit`."""
    total = 0
    stack = [value]
    while stack and total <= limit:
        item = stack.pop()
        total += _NODE_WEIGHT
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, Mapping):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            stack.extend(item)
        elif isinstance(item, int) and item.bit_length() > INT_BITS_MAX:
            raise BoundError(f"a number has more than {INT_BITS_MAX} bits; use smaller numbers")
    return total


def bounded(value: Any) -> Any:
    if weigh(value) > VALUE_WEIGHT_MAX:
        raise BoundError(f"a value grew beyond {VALUE_WEIGHT_MAX:,} characters; pass or build a smaller one")
    return value


def to_text(value: Any) -> str:
    """How a value reads in a prompt: text as it is, lists and objects as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Undefined):
        return str(value)  # StrictUndefined: raises, naming the variable
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping | list | tuple):
        bounded(value)
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, int | float):
        return str(value)
    raise SecurityError(f"a {type(value).__name__} can't be written into a prompt; write a text, a number or a list")


@pass_context
def _finalize(_context: Context, value: Any) -> str:
    return to_text(value)


def _join(parts: Iterable[str]) -> str:
    _tick()
    held = list(parts)
    if sum(map(len, held)) > VALUE_WEIGHT_MAX:
        raise BoundError(f"a captured text grew beyond {VALUE_WEIGHT_MAX:,} characters; build a smaller one")
    return "".join(held)


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter with inputs and result weighed. Widths are bounded: padding is how a filter makes much of little."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _tick()
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
            separator = to_text(args[2]) if len(args) > 2 else to_text(kwargs.get("d", ""))
            args = (args[0], bounded(list(_counted(args[1]))), *args[2:])
            _check_product(len(args[1]), len(separator))
        result = function(*args, **kwargs)
        if isinstance(result, Iterator):  # map, select ...: lazy, so the work is counted as it is done
            return bounded(list(_counted(result)))
        return bounded(result)

    return guarded


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
        _tick()
        yield value


def _range(*args: int) -> range:
    values = range(*args)
    if len(values) > RANGE_MAX:
        raise BoundError(f"range() makes at most {RANGE_MAX:,} numbers; loop over fewer")
    return values


class _Generator(CodeGenerator):
    """Sends every literal container and every `~` through the meter."""

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        self._metered(super().visit_List, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        if node.ctx == "load":
            self._metered(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self._metered(super().visit_Dict, node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.concatenate((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_For(self, node: nodes.For, frame: Frame) -> None:  # noqa: N802
        if node.recursive:
            self.fail("recursive loops are not allowed; use a plain loop", node.lineno)
        super().visit_For(node, frame)

    def _metered(self, visit: Callable[[Any, Frame], None], node: nodes.Expr, frame: Frame) -> None:
        self.write("environment.meter(")
        visit(node, frame)
        self.write(")")


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """The environment of every prompt. Its `concat`, operators, calls and loops are metered (see the module)."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    concat = staticmethod(_join)

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=False, optimized=False, cache_size=0, finalize=_finalize,
            keep_trailing_newline=False, trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self.filters = {name: _guarded(name, f) for name, f in self.filters.items() if name in _FILTERS}
        self.filters["_counted"] = lambda values: _counted(_items(values))
        self.globals = {"range": _range, "namespace": self.globals["namespace"]}

    def meter(self, value: Any) -> Any:
        _tick()
        return bounded(value)

    def concatenate(self, parts: Sequence[Any]) -> str:
        return _join(map(to_text, parts))

    def wrap_str_format(self, value: Any) -> None:
        """`str.format` is no method here: Jinja would allow it, and its widths have no bound."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if not super().is_safe_attribute(obj, attr, value):
            return False
        if not callable(value):
            return True
        allowed = next((names for kind, names in _METHODS.items() if isinstance(obj, kind)), None)
        return allowed is None or attr in allowed

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        _tick()
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str | dict | list | tuple):
            for value in args:
                bounded(value)
        result = super().call(context, obj, *args, **kwargs)
        if isinstance(result, str | list | tuple | dict):
            return bounded(result)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _tick()
        if operator == "**":
            _check_power(left, right)
        elif operator == "*":
            _check_times(left, right)
        elif operator == "%" and isinstance(left, str):
            raise BoundError("'%' formats no text here; write the values between braces or use '~'")
        elif operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
            _check_product(len(left) + len(right), 1)
        return bounded(super().call_binop(context, operator, left, right))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        refuse(tree)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
        return tree


def _items(values: Any) -> Any:
    if isinstance(values, Undefined):
        iter(values)  # StrictUndefined: raises, naming the variable
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
    """A construct that prompts don't have. lineno: where it stands."""

    def __init__(self, message: str, lineno: int) -> None:
        super().__init__(message)
        self.lineno = lineno


def refuse(tree: nodes.Template) -> None:
    """Raises RefusedError for what reaches outside the template."""
    for node in tree.find_all(tuple(_REFUSED)):
        raise RefusedError(f"'{_REFUSED[type(node)]}' is not allowed; a prompt stands in one template", node.lineno)
    known = _FILTERS | {"_counted"}
    for filter_ in tree.find_all(nodes.Filter):
        if filter_.name not in known:
            allowed = ", ".join(sorted(_FILTERS))
            raise RefusedError(f"no filter named {filter_.name!r}; use one of {allowed}", filter_.lineno)


__all__ = ["BoundError", "Macro", "PromptEnvironment", "RefusedError", "metered", "to_text", "weigh"]
