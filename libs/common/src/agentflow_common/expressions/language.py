"""References, templates and conditions of a definition: compiled once, evaluated without I/O in bounded time.

- reference `ingest.output.chunks[0]`: the value itself, of any type;
- template `{{document_key}}` or `Report on {{ingest.output.title | upper}}`: a Jinja dialect of expressions only (no
  statements); a string that is one expression keeps the value's type;
- condition: CEL (https://cel.dev), `classify.output.type == 'text'`.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import jinja2
import jinja2.nodes
import msgspec

from agentflow_common import json_values
from agentflow_common.expressions import missing_fields, null_safe
from agentflow_common.expressions.python_words import in_words
from agentflow_common.expressions.sandbox import ExpressionError, NullPart
from agentflow_common.expressions.sandbox import environment as _environment
from agentflow_common.json_values import JsonError, kind_of

REFERENCE: Final = re.compile(
    r"([A-Za-z_][A-Za-z0-9_-]*)\.(output|status|error)((?:\.[A-Za-z_][A-Za-z0-9_-]*|\.\d+|\[\d+\])*)\Z"
)
_PART: Final = re.compile(r"\.([A-Za-z0-9_][A-Za-z0-9_-]*)|\[(\d+)\]")
TEMPLATE_CHARS_MAX: Final = 16 * 1024
RESULT_CHARS_MAX: Final = 256 * 1024

Path = tuple[str | int, ...]


def parse_reference(text: str) -> tuple[str, str, Path] | None:
    """Returns the parts of a reference: ("a", "output", ("b", 0)) for `a.output.b[0]`; None for another text."""
    match = REFERENCE.match(text)
    if match is None:
        return None
    path: list[str | int] = []
    for name, index in _PART.findall(match[3]):
        part = name or index
        path.append(int(part) if part.isdigit() else part)
    return match[1], match[2], tuple(path)


def walk(value: Any, path: Path, whole: str) -> Any:
    """Returns the value at `path`. A part of null is None, because a skipped step has no output.

    Raises ExpressionError that names the part that is missing.
    """
    for depth, part in enumerate(path):
        if value is None:
            return None
        if isinstance(part, int) and isinstance(value, list):
            if part >= len(value):
                raise ExpressionError(f"{whole}: index {part} is past the end (the list has {len(value)} items)")
            value = value[part]
        elif isinstance(value, dict):
            key = str(part)
            if key not in value:
                known = ", ".join(sorted(map(str, value))[:12]) or "nothing"
                raise ExpressionError(f"{whole}: there is no field {key!r}; the output has {known}")
            value = value[key]
        else:
            above = ".".join(map(str, path[:depth])) or "the output"
            raise ExpressionError(f"{whole}: {above} is {kind_of(value)}, it has no field {part!r}")
    return value


_FORBIDDEN: Final = (jinja2.nodes.Stmt,)
_ALLOWED: Final = (jinja2.nodes.Output, jinja2.nodes.If, jinja2.nodes.Template)


def is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


_SELF: Final = (
    "self\u00b7"  # stands for `self`, which means something else to Jinja; no name in a template can be this one
)
_LOOKS: Final = (jinja2.nodes.Template, jinja2.nodes.Output, jinja2.nodes.Name, jinja2.nodes.Getattr,
                 jinja2.nodes.Getitem, jinja2.nodes.Const)  # fmt: skip


class Template:
    """A compiled template."""

    def __init__(self, text: str) -> None:
        if len(text) > TEMPLATE_CHARS_MAX:
            raise ExpressionError(f"a template holds at most {TEMPLATE_CHARS_MAX} characters, this has {len(text)}")
        self._text = text
        self._shown = json_values.escaped(text[:80])
        try:
            self._compile(_environment.parse(text))
        except jinja2.TemplateSyntaxError as error:
            raise ExpressionError(f"template line {error.lineno}: {error.message}") from error
        except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError) as error:
            what = "is nested too deeply or holds a number that is too long"
            raise ExpressionError(f"{self._shown}: the template {what}: simplify it") from error

    def _compile(self, tree: jinja2.nodes.Template) -> None:
        for node in tree.find_all(_FORBIDDEN):
            if not isinstance(node, _ALLOWED):
                raise ExpressionError(
                    f"`{type(node).__name__.lower()}` is not allowed here: only {{{{ expressions }}}} are"
                )
        for number in tree.find_all(jinja2.nodes.Const):
            if isinstance(number.value, float) and not math.isfinite(number.value):
                raise ExpressionError(f"{self._shown}: a number in it is too large")
        names = list(tree.find_all(jinja2.nodes.Name))
        self.variables = frozenset(name.name for name in names)  # the names that it reads
        self.fields = frozenset(  # (name, field) of each `name.field`
            (node.node.name, node.attr)
            for node in tree.find_all(jinja2.nodes.Getattr)
            if isinstance(node.node, jinja2.nodes.Name)
        )
        for name in names:
            name.name = _SELF if name.name == "self" else name.name
        outputs = tree.body[0].nodes if len(tree.body) == 1 and isinstance(tree.body[0], jinja2.nodes.Output) else []
        self._is_whole = len(outputs) == 1 and not isinstance(outputs[0], jinja2.nodes.TemplateData)
        looks = self._is_whole and not isinstance(outputs[0], jinja2.nodes.Const)
        self._only_looks = looks and all(isinstance(node, _LOOKS) for node in tree.find_all(jinja2.nodes.Node))
        if self._is_whole:
            target = jinja2.nodes.Name("result", "store", lineno=1)
            body = [jinja2.nodes.Assign(target, outputs[0], lineno=1)]
            tree = jinja2.nodes.Template(body, lineno=1)
            tree.set_environment(_environment)
        self._template = _environment.from_string(tree)

    def render(self, variables: Mapping[str, Any]) -> Any:
        """Returns the value if the template is one expression, else a string. Raises ExpressionError if it fails."""
        given = dict(variables)
        if "self" in given:
            given[_SELF] = given.pop("self")
        try:
            if self._is_whole:
                return self._value(given)
            text = self._template.render(given)
        except ExpressionError as error:
            if error.message.startswith(self._shown):
                raise
            raise ExpressionError(f"{self._shown}: {error.message}") from error
        except jinja2.UndefinedError as error:
            raise ExpressionError(f"{self._shown}: {error.message}") from error
        except JsonError as error:
            raise ExpressionError(f"{self._shown}: the result is not a JSON value: {error}") from error
        except Exception as error:
            raise ExpressionError(f"{self._shown}: {in_words(error)}") from error
        if not json_values.is_storable(text):
            raise ExpressionError(f"{self._shown}: the result holds a lone surrogate, which is not valid Unicode")
        if len(text) > RESULT_CHARS_MAX:
            raise ExpressionError(f"{self._shown}: the result is longer than {RESULT_CHARS_MAX} characters")
        return text

    def _value(self, variables: dict[str, Any]) -> Any:
        context = self._template.new_context(variables)
        for _ in self._template.root_render_func(context):
            pass
        value = context.vars["result"]
        if isinstance(value, NullPart):
            return None
        if isinstance(value, jinja2.Undefined):
            value._fail_with_undefined_error()
        # a value that is only looked up comes from the log as it is, and may have any size
        return value if self._only_looks and not isinstance(value, tuple) else json_values.plain(value)


@functools.lru_cache(maxsize=4096)
def template(text: str) -> Template:
    return Template(text)


def _macro_depth(text: str) -> int:
    """Returns how deep `map`, `filter`, `all` and `exists` are nested."""
    deepest = depth = 0
    opened: list[bool] = []
    plain = _CEL_STRING.sub("''", text)
    macros = {match.end() - 1 for match in _CEL_MACRO.finditer(plain)}
    for position, char in enumerate(plain):
        if char in "([{":
            opened.append(position in macros)
            depth += opened[-1]
            deepest = max(deepest, depth)
        elif char in ")]}" and opened:
            depth -= opened.pop()
    return deepest


def _count(value: Any, limit: int) -> int:
    """Counts the values inside a value, and each hundred characters of a text. Stops above the limit."""
    left = limit
    stack = [value]
    while stack and left >= 0:
        item = stack.pop()
        left -= 1
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
        elif isinstance(item, str):
            left -= len(item) // 100
    return limit - left


class Condition:
    """A compiled CEL expression. Macros over lists are bounded: their cost grows with the square of the values."""

    def __init__(self, text: str) -> None:
        import cel

        self.text = text
        if len(text) > TEMPLATE_CHARS_MAX:
            raise ExpressionError(f"a condition holds at most {TEMPLATE_CHARS_MAX} characters")
        try:
            self._program = cel.compile(text)
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            detail = lines[0].split("ERROR: <input>:")[-1] if lines else type(error).__name__
            detail = detail.split(" expecting ")[0]  # a long list of signs follows
            raise ExpressionError(f"not a CEL expression: {text!r}: {detail}") from error
        depth = _macro_depth(text)
        if depth > len(_MACRO_VALUES_MAX):
            raise ExpressionError(f"{text!r} has loops over lists inside each other, {depth} deep; the limit is 2")
        self._values_max = _MACRO_VALUES_MAX[depth - 1] if depth else 0

    @property
    def variables(self) -> list[str]:
        return list(self._program.variables())

    @property
    def functions(self) -> list[str]:
        return list(self._program.functions())

    def holds(self, variables: Mapping[str, Any]) -> bool:
        """Returns the condition's boolean. Raises ExpressionError if it fails or gives another type."""
        if self._values_max and _count(dict(variables), self._values_max) > self._values_max:
            raise ExpressionError(
                f"condition {self.text!r} loops over lists and has more than {self._values_max:,} values: "
                "compute the value in a step before it"
            )
        given = _within_64_bits(variables)
        try:
            return self._ask(given, self.text)
        except ExpressionError:
            text = null_safe.rewritten(self.text, given)
            if text == self.text:
                raise
        return condition(text)._ask(given, self.text)

    def _ask(self, variables: dict[str, Any], shown: str) -> bool:
        try:
            value = self._program.execute(variables)
        except KeyError as error:
            key = str(error.args[0]) if error.args else ""
            raise ExpressionError(f"condition {shown!r}: {missing_fields.missing(shown, variables, key)}") from error
        except Exception as error:
            message = json_values.escaped(
                json_values.without_addresses((str(error).splitlines() or [type(error).__name__])[0])
            )
            raise ExpressionError(f"condition {shown!r}: {message}") from error
        if not isinstance(value, bool):
            raise ExpressionError(f"condition {shown!r} gave {kind_of(value)}, not true or false")
        return value


_LONG_NUMBER: Final = re.compile(rb"\d{19}")


def _within_64_bits(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the variables with integers beyond 64 bits as text, because CEL would read them as inexact doubles."""
    given = dict(variables)
    try:
        data = msgspec.json.encode(given)
    except (ValueError, TypeError, RecursionError):
        return given
    return {name: _without_long(value) for name, value in given.items()} if _LONG_NUMBER.search(data) else given


def _without_long(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_long(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_long(item) for item in value]
    is_long = isinstance(value, int) and not -(2**63) <= value < 2**64
    return str(value) if is_long else value


@functools.lru_cache(maxsize=4096)
def condition(text: str) -> Condition:
    return Condition(text)


_CEL_STRING: Final = null_safe.STRING
_CEL_MACRO: Final = re.compile(r"\.\s*(?:map|filter|all|exists|exists_one)\s*\(")
_MACRO_VALUES_MAX: Final = (2_000, 150)  # by depth: a fraction of a second at most
_CEL_STEP: Final = re.compile(r"(?<![\w.])([A-Za-z_][A-Za-z0-9_]*)\s*\.\s*(?:output|status|error)\b")


def condition_steps(text: str) -> list[str]:
    """Returns the steps that a condition reads: each `x` of `x.output` outside of string literals."""
    return list(dict.fromkeys(_CEL_STEP.findall(_CEL_STRING.sub("''", text))))


_CEL_BOUND: Final = null_safe.BOUND
_CEL_OWN: Final = frozenset(
    {"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type", "timestamp", "duration",
     "optional", "math", "strings"}
)  # fmt: skip
_CEL_FUNCTIONS: Final = frozenset(  # the standard ones that the library provides
    {"size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "bytes", "timestamp",
     "duration", "type", "dyn", "getDate", "getHours", "getMinutes", "getSeconds", "getMilliseconds", "getDayOfMonth",
     "getDayOfWeek", "getDayOfYear", "getMonth", "getFullYear"}
)  # fmt: skip
_CEL_NAME: Final = re.compile(r"[A-Za-z_]\w*\Z")


def condition_variables(text: str) -> list[str]:
    """Returns the names that a condition reads, without those that its own macros bind."""
    bound = set(_CEL_BOUND.findall(_CEL_STRING.sub("''", text)))
    return [name for name in condition(text).variables if name not in bound and name not in _CEL_OWN]


def unknown_functions(text: str) -> list[str]:
    """Returns the functions that a condition calls, but that do not exist here."""
    return [name for name in condition(text).functions if _CEL_NAME.match(name) and not _is_function(name)]


@functools.lru_cache(maxsize=1024)
def _is_function(name: str) -> bool:
    import cel

    if name in _CEL_FUNCTIONS:
        return True
    calls = ("{}()", "{}(1)", "{}('1')", "'a'.{}()", "'a'.{}('a')", "[1].{}()", "optional.{}(1)", "optional.of(1).{}()")
    for call in (call.format(name) for call in calls):
        try:
            cel.compile(call).execute({})
        except Exception as error:
            if "Undefined variable or function" in str(error):
                continue
        return True
    return False


_CEL_STATE: Final = re.compile(r"(?<![\w.])state\b(?:\s*\.\s*([A-Za-z_][A-Za-z0-9_]*)\b(?!\s*\())?")


@functools.lru_cache(maxsize=4096)
def condition_keys(text: str) -> frozenset[str] | None:
    """Returns the keys of the shared state that a condition reads; None if it reads the state as a whole."""
    names = _CEL_STATE.findall(_CEL_STRING.sub("''", text))
    return None if "" in names else frozenset(names)
