"""The sandbox in which the templates of definitions are evaluated. They run in the scheduler, for every tenant.

A template has no statements and can't reach into Python. Its values can't grow out of proportion to the template and
its input.

`x.name` and `x['name']` only read data: a field of an object, an item of a list. A field of null is null. A field that
an object does not have is `Absent`. It is false in a condition, `default` and `or` replace it, and any other use is an
error. A method can only be called (`x.split(',')`), and only if it is one of `METHODS`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.sandbox import ImmutableSandboxedEnvironment

from agentflow_common import json_values
from agentflow_common.errors import InvalidError
from agentflow_common.json_values import kind_of, text_of

TEXT_CHARS_MAX: Final = 8 * 1024 * 1024  # of a text that a template makes: twice the largest output of a step
GROWTH_CHARS_MAX: Final = 256 * 1024
REPEAT_MAX: Final = 10_000  # bounds 'x' * n inside a template
_OF_TEXTS: Final = (
    "lower upper casefold swapcase title capitalize strip lstrip rstrip split rsplit splitlines partition rpartition "
    "startswith endswith removeprefix removesuffix find rfind index rindex count replace join isdigit isalpha isalnum "
    "isnumeric isdecimal isspace islower isupper istitle isascii"
)
METHODS: Final[dict[type, frozenset[str]]] = {
    str: frozenset(_OF_TEXTS.split()),
    list: frozenset({"index", "count"}),
    tuple: frozenset({"index", "count"}),
    dict: frozenset({"get", "items", "keys", "values"}),
}
_NO_FILTERS: Final = (
    "pprint", "xmlattr", "urlize", "forceescape", "center", "indent", "wordwrap", "filesizeformat", "format",  # widths
    "batch", "slice", "random", "safe",
)  # fmt: skip
TEXT_FILTERS: Final = (
    "capitalize", "lower", "striptags", "title", "trim", "truncate", "upper", "wordcount", "escape", "e",
)  # fmt: skip


class ExpressionError(InvalidError):
    """An expression that can't be compiled, or that fails on its values."""


def _weight(value: Any) -> int:
    """Counts characters and values, up to a little more than REPEAT_MAX."""
    if isinstance(value, str):
        return max(1, len(value))
    total = 0
    if isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            total += _weight(item)
            if total > REPEAT_MAX:
                break
    return max(1, total)


def _text(parts: Iterable[Any]) -> str:
    """Joins the parts to one text. Raises ExpressionError before it is made if it would be too long."""
    texts = [text_of(part) for part in parts]
    if sum(map(len, texts)) > TEXT_CHARS_MAX:
        raise ExpressionError(f"a template may not make a text of more than {TEXT_CHARS_MAX:,} characters")
    return "".join(texts)


def _grows(times: int, by: Any) -> None:
    if isinstance(by, str) and times * len(by) > GROWTH_CHARS_MAX:
        raise ExpressionError(f"a template may not add more than {GROWTH_CHARS_MAX:,} characters at once")


def _replace(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = text_of(value), text_of(old), text_of(new)
    _grows(text.count(old), new)
    return text.replace(old, new, -1 if count is None else count)


def _join(value: Iterable[Any], d: Any = "", attribute: str | int | None = None) -> str:
    items = list(value)
    if attribute is not None:
        items = [lookup(item, attribute) for item in items]
    between = text_of(d)
    _grows(len(items), between)
    return between.join([_text(items)] if not between else [text_of(item) for item in items])


class Absent(jinja2.StrictUndefined):
    """A field that does not exist, or a field of one. It is false and equals null; every other use is an error."""

    def __bool__(self) -> bool:  # type: ignore[override]
        return False

    def __eq__(self, other: object) -> bool:  # type: ignore[override]
        return other is None or isinstance(other, Absent)

    def __ne__(self, other: object) -> bool:  # type: ignore[override]
        return not self == other

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(None)


class NullPart(Absent):
    """A part of null. It becomes null in a value; `default` and `is defined` treat it as absent."""

    stands_for_null = True


_BEHIND: Final = "; write `| default(...)` after a name that may be missing"


def lookup(value: Any, part: Any) -> Any:  # noqa: PLR0911  (one for each kind of value)
    """Returns the field or item of a JSON value: `NullPart` for a part of null, `Absent` if it does not exist.

    Raises jinja2.UndefinedError if the value or the part is an undefined name.
    """
    if isinstance(part, jinja2.Undefined):
        part._fail_with_undefined_error()
    if isinstance(value, Absent):
        return value
    if isinstance(value, jinja2.Undefined):
        value._fail_with_undefined_error()
    if value is None:
        return NullPart(hint=f"null has no field {part!r}{_BEHIND}")
    if isinstance(value, Mapping):
        for key in (part, str(part)) if isinstance(part, int) else (part,):
            if isinstance(key, str | int) and key in value:
                return value[key]
        return Absent(hint=f"there is no field {part!r}{_BEHIND}")
    if isinstance(value, str | list | tuple) and isinstance(part, int):
        if -len(value) <= part < len(value):
            return value[part]
        return Absent(hint=f"{'the text' if isinstance(value, str) else 'the list'} has no item {part}")
    if part in getattr(type(value), "_fields", ()):  # `grouper` and `list` of a group of `groupby`
        return getattr(value, part)
    return Absent(hint=f"{kind_of(value)} has no field {part!r}{_BEHIND}")


def sliced(value: Any, start: Any, stop: Any, step: Any) -> Any:
    """Returns a part of a text or a list; null for null."""
    if value is None or isinstance(value, NullPart):
        return None
    if isinstance(value, jinja2.Undefined):
        value._fail_with_undefined_error()
    if not isinstance(value, str | list | tuple):
        raise ExpressionError(f"{kind_of(value)} has no parts from one index to another")
    return value[start:stop:step]


def method_of(value: Any, name: str, methods: Mapping[type, frozenset[str]]) -> Callable[..., Any]:
    """Returns a method of a value.

    Raises ExpressionError if a template may not call it, and jinja2.UndefinedError if the value is undefined.
    """
    if isinstance(value, jinja2.Undefined):
        value._fail_with_undefined_error()
    for kind, names in methods.items():
        if isinstance(value, kind) and name in names:
            found: Callable[..., Any] = getattr(value, name)
            return found
    known = next((names for kind, names in methods.items() if isinstance(value, kind)), frozenset[str]())
    listed = f"call one of {', '.join(sorted(known))}" if known else "use a filter"
    raise ExpressionError(f"{kind_of(value)} has no method {name!r}: {listed}")


def as_method_calls(tree: nodes.Template) -> None:
    """Rewrites each `x.name(...)` to a call of the environment's `invoke`, so that a lone `x.name` reads data."""
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Getattr):
            name = nodes.Const(call.node.attr, lineno=call.lineno)
            call.args = [call.node.node, name, *call.args]
            call.node = nodes.EnvironmentAttribute("invoke", lineno=call.lineno)
    tree.set_environment(tree.environment)  # type: ignore[arg-type]


def of_text(function: Callable[..., Any], read: Callable[[Any], str] = text_of) -> Callable[..., Any]:
    """Returns a filter of texts that takes any value, as templates print it. The result is plain text."""

    @functools.wraps(function)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        at = 0 if not args or not isinstance(args[0], jinja2.Environment) else 1
        found = function(*args[:at], read(args[at]), *args[at + 1 :], **kwargs)
        return str.__str__(found) if isinstance(found, str) else found

    return filtered


def _listed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the filter with a list in place of a lazy iterator."""

    @functools.wraps(function)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        found = function(*args, **kwargs)
        return list(found) if isinstance(found, Iterator) else found

    return filtered


def urlencode(value: Any) -> str:
    """Returns a text percent-encoded, or an object or a list of pairs as a query string."""
    from urllib.parse import quote

    if isinstance(value, Mapping | list | tuple):
        pairs = value.items() if isinstance(value, Mapping) else value
        return "&".join(f"{quote(text_of(key), safe='')}={quote(text_of(item), safe='')}" for key, item in pairs)
    return quote(text_of(value), safe="/")


class Generator(CodeGenerator):
    """A code generator that sends every `~` and every slice through the environment, which bounds them."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.concatenate((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.sliced(")
        self.visit(node.node, frame)
        for part in (node.arg.start, node.arg.stop, node.arg.step):
            self.write(", ")
            self.write("None") if part is None else self.visit(part, frame)
        self.write(")")


class Sandbox(ImmutableSandboxedEnvironment):
    code_generator_class = Generator
    intercepted_binops = frozenset({"*", "**", "%"})
    concat = concatenate = staticmethod(_text)
    sliced = staticmethod(sliced)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return lookup(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return lookup(obj, argument)

    def invoke(self, obj: Any, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a method of a value, for `obj.name(...)` in a template."""
        method = method_of(obj, name, METHODS)
        if isinstance(obj, str) and name == "replace" and len(args) > 1:
            _grows(obj.count(args[0]), args[1])
        elif isinstance(obj, str) and name == "join" and args:
            _grows(len(args[0]), obj)
        found = method(*args, **kwargs)
        return list(found) if isinstance(obj, Mapping) and name != "get" else found

    def call(self, _context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if obj == self.invoke:
            return self.invoke(*args, **kwargs)
        if isinstance(obj, jinja2.Undefined):
            obj._fail_with_undefined_error()
        raise ExpressionError(f"{kind_of(obj)} can't be called: a template calls methods of values (`x.split(',')`)")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise ExpressionError("`**` is not allowed in templates")
        if operator == "*":
            for value, times in ((left, right), (right, left)):
                many = isinstance(value, str | list | tuple) and isinstance(times, int)
                if many and times * _weight(value) > REPEAT_MAX:
                    raise ExpressionError(f"a template may not repeat a value to more than {REPEAT_MAX} items")
        if operator == "%" and isinstance(left, str):
            raise ExpressionError("string formatting by `%` is not allowed in templates")
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        as_method_calls(tree)
        return tree


def _tojson(value: Any) -> str:
    return json.dumps(json_values.plain(value), ensure_ascii=False)


@jinja2.pass_context
def _finalize(_context: Any, value: Any) -> str:
    return text_of(value)


def _made() -> Sandbox:
    # not optimized: Jinja would compute constants when it compiles, and print them in Python's form
    environment = Sandbox(undefined=jinja2.StrictUndefined, autoescape=False, finalize=_finalize, optimized=False)
    environment.globals.clear()
    for name in _NO_FILTERS:
        environment.filters.pop(name, None)
    for name in TEXT_FILTERS:
        environment.filters[name] = of_text(environment.filters[name])
    environment.filters = {name: _listed(function) for name, function in environment.filters.items()}
    environment.filters.update(
        replace=_replace, join=_join, tojson=_tojson, string=text_of, urlencode=urlencode, attr=lookup
    )
    environment.tests["none"] = lambda value: value is None or isinstance(value, Absent)
    return environment


environment: Final = _made()
