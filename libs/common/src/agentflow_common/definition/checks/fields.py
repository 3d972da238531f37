"""Checks of the fields that conditions and templates read.

The fields of three things are known: declared inputs, the error of a step, and the output of an approval. Keys of a
graph's state are checked in definition/checks/graph.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from agentflow_common.definition.checks.names import suggest
from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.calls import all_templates, local_names, prompt_of
from agentflow_common.definition.nodes.types import ApprovalNode, LoopNode
from agentflow_common.places import Finding, Place, texts

ERROR_FIELDS: Final = ("type", "message")
APPROVAL_FIELDS: Final = ("approved", "decisions")
_STRING: Final = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")
_HAS: Final = re.compile(r"\bhas\s*\([^()]*\)")
_READ: Final = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\.(?:(output|error)\.)?([A-Za-z_]\w*)\b(?!\s*\()")
_TEMPLATE: Final = re.compile(r"\{\{(.*?)\}\}", re.S)
_REFERENCE: Final = re.compile(r"[A-Za-z_][\w-]*\.(?:output|error)\.[\w.\[\]-]+\Z")


def field_findings(definition: Definition) -> Iterator[Finding]:
    """Yields each field that a condition, a template or a reference reads, but that can't exist."""
    everywhere = _known(definition)
    for number, node in enumerate(definition.dag.nodes):
        here: Place = ("dag", "nodes", number)
        own = local_names(node) | prompt_of(node)[1]
        known = {key: fields for key, fields in everywhere.items() if key[0] not in own} if own else everywhere
        yield from _expression((*here, "condition"), node.condition, known)
        yield from _expression((*here, "config", "condition"), node.config.condition, known)
        if isinstance(node, LoopNode):
            yield from _expression((*here, "config", "until"), node.config.until, known)
            yield from _expression((*here, "config", "while"), node.config.while_, known)
        for name, value in all_templates(node).items():
            yield from _value((*here, "config", *name.split(".", 1)), value, known)
    for number, edge in enumerate(definition.dag.edges):
        yield from _expression(("dag", "edges", number, "condition"), edge.condition, everywhere)
    for name, value in definition.outputs.items():
        yield from _value(("outputs", name), value, everywhere)


Known = Mapping[tuple[str, str], Collection[str]]


def _known(definition: Definition) -> Known:
    """Returns the known fields by (node, `output` or `error`). Those of the inputs are under ("inputs", "")."""
    known: dict[tuple[str, str], Collection[str]] = {}
    for node in definition.dag.nodes:
        known[node.id, "error"] = ERROR_FIELDS
        if isinstance(node, ApprovalNode):
            known[node.id, "output"] = APPROVAL_FIELDS
    if definition.inputs and not any(node.id == "inputs" for node in definition.dag.nodes):
        known["inputs", ""] = list(definition.inputs)
    return known


def _expression(place: Place, text: str | None, known: Known) -> Iterator[Finding]:
    """Yields the unknown fields that a condition, a reference or an expression of a template reads."""
    if text is None:
        return
    plain = _HAS.sub("true", _STRING.sub("''", text))
    for name, part, read in dict.fromkeys(_READ.findall(plain)):
        fields = known.get((name, part))
        if fields is not None and read not in fields:
            whole = ".".join(word for word in (name, part) if word)
            what = "the inputs are" if name == "inputs" else f"{whole} has"
            yield place, f"{whole} has no field {read!r}", suggest(read, fields, what)


def _value(place: Place, value: Any, known: Known) -> Iterator[Finding]:
    for here, text in texts(value, place):
        if _REFERENCE.match(text):
            yield from _expression(here, text, known)
        for inside in _TEMPLATE.findall(text):
            if "default" not in inside:  # with `default` the field may be missing
                yield from _expression(here, inside, known)
