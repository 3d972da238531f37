"""The reader of YAML and JSON text: plain data, and the line of every value. Hostile text ends in a clear error.

Text that is JSON is read as JSON, because YAML has other escapes and other numbers, and allows no tabs.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

import yaml

from agentflow_common import json_values
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.places import Place

TEXT_BYTES_MAX: Final = 2 * 1024 * 1024
ALIASES_MAX: Final = 100
VALUES_MAX: Final = 500_000  # aliases followed: keeps a "billion laughs" document small
YAML_DEPTH_MAX: Final = 60

_PAIR: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|[{}\[\],:]|[^\s{}\[\],:"]+|\n')
_TAG: Final = "tag:yaml.org,2002:"
_PLAIN_TAGS: Final = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null", "merge", "map", "seq"))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A YAML loader that leaves times and dates as text, as JSON and the other ways to write a definition do."""


_Loader.yaml_implicit_resolvers = {
    sign: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for sign, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def load(text: str, source: str = "definition") -> tuple[Any, dict[Place, int]]:
    """Returns plain data, and the line (1-based) of each path in it. Raises InvalidError if it is not one document."""
    if len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES_MAX:
        raise _bad(source, "line 1", f"longer than {TEXT_BYTES_MAX:,} bytes", "split the workflow")
    if text.lstrip()[:1] in {"{", "["}:
        try:
            data = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
        except (ValueError, RecursionError):
            pass  # it may be a flow mapping of YAML
        else:
            return data, _Json(text, source).lines()
    return _yaml(text, source)


def _is_finite(text: str) -> bool:
    plain = text.lower().replace("_", "")
    try:
        return plain.lstrip("+-") not in {".nan", ".inf"} and math.isfinite(float(plain))
    except ValueError:  # base 60
        return True


def _finite(text: str) -> float:
    if not math.isfinite(found := float(text)):
        raise ValueError(f"{text} is not a JSON number")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _yaml(text: str, source: str) -> tuple[Any, dict[Place, int]]:
    try:
        _bound(text, source)
        root = yaml.compose(text, Loader=_Loader)
        lines: dict[Place, int] = {}
        if root is not None:
            _walk(root, (), lines, source)
        data = yaml.load(text, Loader=_Loader)  # noqa: S506  (a safe loader)
    except yaml.MarkedYAMLError as error:
        if (paired := _PAIR.sub(_character, text)) != text:  # YAML with a surrogate pair, as JSON writes it
            return _yaml(paired, source)
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "line 1"
        raise _bad(source, place, f"not YAML: {error.problem or error.context}", _fix(error, text)) from None
    except RecursionError:
        raise _bad(source, "line 1", f"nested deeper than {YAML_DEPTH_MAX} levels", "flatten it") from None
    except (yaml.YAMLError, ValueError) as error:
        message = json_values.escaped(str(error)[:200])
        if "integer string conversion" in message:  # Python's limit
            message = "an integer has more than 4,300 digits"
            raise _bad(source, "line 1", message, "write it in quotes, as a text") from None
        raise _bad(source, "line 1", f"not YAML: {type(error).__name__}: {message}", "") from None
    if root is None:
        raise _bad(source, "line 1", "the text is empty", "start with `name:` and `dag:`")
    return data, lines


def _bound(text: str, source: str) -> None:
    """Raises InvalidError for too many aliases or levels.

    PyYAML's composer recurses in C for each level, so a deep document would crash the process.
    """
    aliases = depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        aliases += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > YAML_DEPTH_MAX + 1:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise _bad(source, f"line {line}", f"nested deeper than {YAML_DEPTH_MAX} levels", "flatten it")
    if aliases > ALIASES_MAX:
        raise _bad(source, "line 1", f"{aliases} aliases", f"at most {ALIASES_MAX} are allowed")


def _character(match: re.Match[str]) -> str:
    """Returns the character that a surrogate pair stands for, after the escaped backslashes before it."""
    code = 0x10000 + ((int(match[2], 16) - 0xD800) << 10) + int(match[3], 16) - 0xDC00
    return match[1] + chr(code)


class _Json:
    """The lines of a text that is known to be JSON."""

    def __init__(self, text: str, source: str) -> None:
        self._signs = _TOKEN.finditer(text)
        self._source = source
        self._line = 1
        self._lines: dict[Place, int] = {}

    def lines(self) -> dict[Place, int]:
        self._value(self._next(), ())
        return self._lines

    def _next(self) -> str:
        sign = next(self._signs)[0]
        while sign == "\n":
            self._line += 1
            sign = next(self._signs)[0]
        return sign

    def _value(self, sign: str, path: Place) -> None:
        _note(self._lines, path, self._line, self._source)
        if sign == "{":
            self._object(path)
        elif sign == "[":
            number, sign = 0, self._next()
            while sign != "]":
                self._value(sign, (*path, number))
                number += 1
                sign = self._next()
                sign = self._next() if sign == "," else sign
        elif sign[0] == '"':
            self._text(sign)

    def _object(self, path: Place) -> None:
        seen: set[str] = set()
        sign = self._next()
        while sign != "}":
            name, line = self._text(sign), self._line
            if name in seen:
                raise _bad(self._source, f"line {line}", f"the key {name!r} appears twice", "remove one")
            seen.add(name)
            self._next()
            self._value(self._next(), (*path, name))
            self._lines[(*path, name)] = line
            sign = self._next()
            sign = self._next() if sign == "," else sign

    def _text(self, sign: str) -> str:
        text: str = json.loads(sign)
        if not json_values.is_storable(text):
            raise _bad(self._source, f"line {self._line}", *_SURROGATE)
        return text


_SURROGATE: Final = ("a text holds half of a surrogate pair, which is not valid Unicode", "write the whole character")


def _note(lines: dict[Place, int], path: Place, line: int, source: str) -> None:
    lines[path] = line
    if len(lines) > VALUES_MAX:
        raise _bad(source, f"line {line}", f"more than {VALUES_MAX:,} values", "use fewer aliases, or split it")
    if len(path) > YAML_DEPTH_MAX:
        raise _bad(source, f"line {line}", f"nested deeper than {YAML_DEPTH_MAX} levels", "flatten it")


def _fix(error: yaml.MarkedYAMLError, text: str) -> str:
    if "unhashable" in str(error.problem):
        return 'put quotes around a template: "{{name}}"'
    line = text.splitlines()[error.problem_mark.line :][:1] if error.problem_mark else []
    if line and "\t" in line[0][: len(line[0]) - len(line[0].lstrip())]:
        return "check the indentation: YAML takes no tabs here"
    return "check indentation and quotes"


def _walk(node: Any, path: Place, lines: dict[Place, int], source: str) -> None:
    line = node.start_mark.line + 1
    _note(lines, path, line, source)
    if node.tag not in _PLAIN_TAGS:
        name = node.tag.replace(_TAG, "!!")
        raise _bad(
            source, f"line {line}", f"{name} is not a type of JSON", "write a text, a number, a list or a mapping"
        )
    if isinstance(node, yaml.ScalarNode):
        if not json_values.is_storable(node.value):
            raise _bad(source, f"line {line}", *_SURROGATE)
        if node.tag == _TAG + "float" and not _is_finite(node.value):
            raise _bad(source, f"line {line}", f"{node.value} is not a JSON number", "use a finite number or null")
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if not isinstance(name, str):
                fix = 'put quotes around a template: "{{name}}"' if isinstance(key, yaml.MappingNode) else "quote it"
                raise _bad(source, f"line {key.start_mark.line + 1}", "a key must be a plain word", fix)
            if name in seen and name != "<<":
                raise _bad(source, f"line {key.start_mark.line + 1}", f"the key {name!r} appears twice", "remove one")
            seen.add(name)
            _walk(value, (*path, name), lines, source)
            lines[(*path, name)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*path, index), lines, source)


def _bad(source: str, place: str, message: str, fix: str) -> InvalidError:
    return InvalidError(
        f"{source}: {place}: {message}", problems=(Problem(place, message, fix),), kind="invalid_definition"
    )
