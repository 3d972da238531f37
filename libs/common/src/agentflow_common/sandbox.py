"""Where the templates of definitions are evaluated: no statements, no reach into Python, and no value that grows out
of proportion to the template and to what it was given. They run in the scheduler, for every tenant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.sandbox import ImmutableSandboxedEnvironment

from agentflow_common.errors import InvalidError

TEXT_CHARS_MAX: Final = 8 * 1024 * 1024  # of a text that is put together: twice the largest output of a step
GROWTH_CHARS_MAX: Final = 256 * 1024
REPEAT_MAX: Final = 10_000  # bounds 'x' * n inside a template
_OF_TEXTS: Final = (
    "lower upper casefold swapcase title capitalize strip lstrip rstrip split rsplit splitlines partition rpartition "
    "startswith endswith removeprefix removesuffix find rfind index rindex count replace join isdigit isalpha isalnum "
    "isnumeric isdecimal isspace islower isupper istitle isascii"
)
_METHODS: Final[dict[type, frozenset[str]]] = {
    str: frozenset(_OF_TEXTS.split()),
    list: frozenset({"index", "count"}),
    tuple: frozenset({"index", "count"}),
    dict: frozenset({"get", "items", "keys", "values"}),
}
_NO_FILTERS: Final = (
    "pprint", "xmlattr", "urlize", "forceescape", "center", "indent", "wordwrap", "filesizeformat", "format",  # widths
    "batch", "slice", "random",
)  # fmt: skip


class ExpressionError(InvalidError):
    """An expression can't be compiled, or fails on the values that it met."""


def _weight(value: Any) -> int:
    """Characters and values, up to a little more than REPEAT_MAX."""
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
    """The parts as one text, refused before it is made if it were too long."""
    texts = [part if isinstance(part, str) else str(part) for part in parts]
    if sum(map(len, texts)) > TEXT_CHARS_MAX:
        raise ExpressionError(f"a template may not make a text of more than {TEXT_CHARS_MAX:,} characters")
    return "".join(texts)


def _grows(times: int, by: Any) -> None:
    if isinstance(by, str) and times * len(by) > GROWTH_CHARS_MAX:
        raise ExpressionError(f"a template may not add more than {GROWTH_CHARS_MAX:,} characters at once")


def _replace(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = str(value), str(old), str(new)
    _grows(text.count(old), new)
    return text.replace(old, new, -1 if count is None else count)


def _join(value: Iterable[Any], d: Any = "", attribute: str | int | None = None) -> str:
    items = list(value)
    if attribute is not None:
        items = [environment.getitem(item, attribute) for item in items]
    _grows(len(items), str(d))
    return str(d).join([_text(items)] if not d else [str(item) for item in items])


class _Generator(CodeGenerator):
    """Sends every `~` through the bound."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class Sandbox(ImmutableSandboxedEnvironment):
    code_generator_class = _Generator
    intercepted_binops = frozenset({"*", "**", "%"})
    concat = staticmethod(_text)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key goes before a method: `state.items` is what the state holds."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> None:
        """`str.format` is no method here: Jinja would allow it, and its widths have no bound."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if not super().is_safe_attribute(obj, attr, value):
            return False
        allowed = next((names for kind, names in _METHODS.items() if isinstance(obj, kind)), frozenset[str]())
        return not callable(value) or attr in allowed

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str) and name == "replace" and len(args) > 1:
            _grows(owner.count(args[0]), args[1])
        elif isinstance(owner, str) and name == "join" and args:
            _grows(len(args[0]), owner)
        return super().call(context, obj, *args, **kwargs)

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


def _made() -> Sandbox:
    environment = Sandbox(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.globals.clear()
    for name in _NO_FILTERS:
        environment.filters.pop(name, None)
    environment.filters.update(replace=_replace, join=_join, tojson=lambda value: json.dumps(value, ensure_ascii=False))
    return environment


environment: Final = _made()
