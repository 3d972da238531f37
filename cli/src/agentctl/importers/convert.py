"""The import of a definition of another engine: text in, definitions and remarks out. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import yaml

from agentctl.importers import argo, conductor, n8n, serverless, stepfunctions
from agentctl.importers.expression import UntranslatableError
from agentctl.importers.flow import Flow, name_of
from agentctl.importers.source import Part, Remark
from agentflow_common.definition.parse import parse_text
from agentflow_common.errors import InvalidError

ENGINES: Final[dict[str, Callable[[Part], list[Flow]]]] = {
    "argo": argo.convert,
    "conductor": conductor.convert,
    "serverless-workflow": serverless.convert,
    "step-functions": stepfunctions.convert,
    "n8n": n8n.convert,
}
REMARKS_MAX: Final = 1_000

Check = Callable[[str], list[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Written:
    """One definition that was made, as YAML."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Imported:
    """The definitions that were made, the workflow first, and what was not carried over."""

    definitions: tuple[Written, ...]
    remarks: tuple[Remark, ...]

    invalid: tuple[str, ...] = ()
    """The names of definitions that are not valid yet; a remark says why."""


def convert(text: str, engine: str, source: str = "definition", check: Check | None = None) -> Imported:
    """Returns the definitions for a workflow of another engine. Raises InvalidError if the text is not one.

    engine: a key of ENGINES. check: finds the problems of a definition; without it those that need no worker.
    """
    part = Part.of_text(text, source)
    try:
        flows, written = _named_apart(ENGINES[engine](part))
    except (RecursionError, UntranslatableError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise part.wrong(f"the definition can't be translated: {why}", "split it, or make it simpler") from None
    invalid: dict[str, None] = {}
    for flow, definition in zip(flows, written, strict=True):
        for message, fix in (check or problems)(definition.text):
            invalid[definition.name] = None
            flow.part.remark(f"the definition {definition.name!r} is not valid yet: {message}", fix)
    return Imported(written, tuple(sorted(part.remarks.found)[:REMARKS_MAX]), tuple(invalid))


def _named_apart(flows: list[Flow]) -> tuple[list[Flow], tuple[Written, ...]]:
    """Returns the flows and their definitions, each name once. Raises InvalidError if two of one name differ."""
    found: dict[str, tuple[Flow, str]] = {}
    for flow in flows:
        name, text = name_of(flow.name), _yaml(flow.definition())
        known = found.setdefault(name, (flow, text))
        if known[1] != text:
            raise flow.part.wrong(f"two definitions would have the name {name!r}", "give one of them another name")
    return [flow for flow, _ in found.values()], tuple(Written(name, text) for name, (_, text) in found.items())


def problems(text: str) -> list[tuple[str, str]]:
    """Returns what is wrong with a definition, and how to fix it."""
    try:
        parse_text(text)
    except InvalidError as error:
        return [(f"{problem.place}: {problem.message}", problem.fix or "correct it") for problem in error.problems]
    return []


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """A writer of YAML that repeats a value instead of referring to it."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _yaml(data: dict[str, Any]) -> str:
    lines: list[str] = []
    for name, value in data.items():
        if name != "dag":
            lines += _field(name, value, "")
    lines += ["dag:", "  nodes:"]
    for node in data["dag"]["nodes"]:
        whole = _inline(node)
        if len(whole) <= _WIDTH - 6:
            lines.append(f"    - {whole}")
            continue
        fields = [line for name, value in node.items() for line in _field(name, value, "      ")]
        lines += [f"    - {fields[0].strip()}", *fields[1:]]
    if data["dag"].get("edges"):
        lines += ["  edges:", *(f"    - {_inline(edge)}" for edge in data["dag"]["edges"])]
    return "\n".join(lines) + "\n"


_WIDTH: Final = 110


def _field(name: str, value: Any, indent: str) -> list[str]:
    """Returns the lines of a field: one line if it is short, else a line for each part."""
    line = f"{indent}{_inline(name)}: {_inline(value)}"
    if len(line) <= _WIDTH or not isinstance(value, dict | list) or not value:
        return [line]
    if isinstance(value, list):
        return [f"{indent}{_inline(name)}:", *(f"{indent}  - {_inline(item)}" for item in value)]
    parts = [part for key, item in value.items() for part in _field(str(key), item, indent + "  ")]
    return [f"{indent}{_inline(name)}:", *parts]


def _inline(value: Any) -> str:
    text = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=True,
        sort_keys=False,
        allow_unicode=True,
        width=2**30,
        line_break="\n",
    )
    return text.removesuffix("\n").removesuffix("\n...")
