"""YAML (and so JSON) text to plain data with the line of every value; hostile text ends in a clear error."""

from __future__ import annotations

from typing import Any, Final

import yaml

from agentflow_common.errors import InvalidError, Problem

TEXT_BYTES_MAX: Final = 2 * 1024 * 1024
ALIASES_MAX: Final = 100
VALUES_MAX: Final = 500_000  # aliases followed: keeps a "billion laughs" document small
DEPTH_MAX: Final = 60

Lines = dict[tuple[str | int, ...], int]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Leaves times and dates as the texts that they are in JSON, and in every other way to write a definition."""


_Loader.yaml_implicit_resolvers = {
    sign: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for sign, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def load(text: str, source: str = "definition") -> tuple[Any, Lines]:
    """Plain data, and the line (1-based) of each path in it. InvalidError for anything that is not one document."""
    if len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES_MAX:
        raise _bad(source, "line 1", f"longer than {TEXT_BYTES_MAX:,} bytes", "split the workflow")
    try:
        aliases = sum(1 for event in yaml.parse(text, Loader=_Loader) if isinstance(event, yaml.AliasEvent))
        if aliases > ALIASES_MAX:
            raise _bad(source, "line 1", f"{aliases} aliases", f"at most {ALIASES_MAX} are allowed")
        root = yaml.compose(text, Loader=_Loader)
        data = yaml.load(text, Loader=_Loader)  # noqa: S506  (a safe loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "line 1"
        raise _bad(source, place, f"not YAML: {error.problem or error.context}", _fix(error, text)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _bad(source, "line 1", f"not YAML: {type(error).__name__}: {str(error)[:200]}", "") from None
    if root is None:
        raise _bad(source, "line 1", "the text is empty", "start with `name:` and `dag:`")
    lines: Lines = {}
    _walk(root, (), lines, source)
    return data, lines


def _fix(error: yaml.MarkedYAMLError, text: str) -> str:
    if "unhashable" in str(error.problem):
        return 'put quotes around a template: "{{name}}"'
    line = text.splitlines()[error.problem_mark.line :][:1] if error.problem_mark else []
    if line and "\t" in line[0][: len(line[0]) - len(line[0].lstrip())]:
        return "check the indentation: YAML takes no tabs here"
    return "check indentation and quotes"


def _walk(node: Any, path: tuple[str | int, ...], lines: Lines, source: str) -> None:
    lines[path] = node.start_mark.line + 1
    if len(lines) > VALUES_MAX:
        raise _bad(source, f"line {lines[path]}", f"more than {VALUES_MAX:,} values", "use fewer aliases, or split it")
    if len(path) > DEPTH_MAX:
        raise _bad(source, f"line {lines[path]}", f"nested deeper than {DEPTH_MAX} levels", "flatten it")
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if not isinstance(name, str):
                raise _bad(source, f"line {key.start_mark.line + 1}", "a key must be a plain word", "quote it")
            if name in seen and name != "<<":
                raise _bad(source, f"line {key.start_mark.line + 1}", f"the key {name!r} stands twice", "remove one")
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
