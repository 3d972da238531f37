"""Explanations of pydantic's errors in the terms of a definition's author. See definition/model.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from agentflow_common import hints
from agentflow_common.definition import field_hints
from agentflow_common.definition.checks.lanes import LANE_FIXES
from agentflow_common.definition.graph_style import Authored
from agentflow_common.definition.nodes.base import PATTERN_WORDS
from agentflow_common.definition.nodes.types import BODY_TYPES, NODE_TYPES, UNDO_TYPES
from agentflow_common.json_values import kind_of
from agentflow_common.places import Place

SHOWN_CHARS_MAX: Final = 200  # of a value in a message


def located(item: Any) -> Place:
    """Returns the place of a pydantic error in the data."""
    loc: Place = tuple(item["loc"])
    # pydantic puts the union's tag into the path of a node: dag.nodes[0].tool.config
    if len(loc) > 3 and loc[:2] == ("dag", "nodes") and loc[3] in NODE_TYPES:
        loc = (*loc[:3], *loc[4:])
    loc = tuple(
        part for at, part in enumerate(loc)
        if not (at and loc[at - 1] in {"body", "compensate_with"} and part in NODE_TYPES)
    )  # fmt: skip
    if loc[-1] in {"int", "float", "constrained-str"}:  # one of several types that a field may have
        loc = loc[:-1]
    if item["type"] == "union_tag_invalid":
        loc = (*loc, "type")
    return loc


def explained(item: Any, loc: Place, authored: Authored, levels: Mapping[Place, frozenset[str]]) -> tuple[str, str]:
    """Returns the message and the fix for a pydantic error, in the terms of a definition's author.

    levels: the fields that each place outside of nodes may have.
    """
    node = _node_at(authored.data, loc)
    message, fix = _message_and_fix(item, loc)
    if item["type"] == "extra_forbidden":
        fix = field_hints.unknown_field(loc, item.get("input"), node, levels, bool(authored.origin))
    elif item["type"] in _NO_MAPPING:
        fix = field_hints.shape(loc, item["input"], node.get("type") if node is not None else None)
    if item["type"] in {"string_pattern_mismatch", "string_type"} and loc:
        fix = LANE_FIXES.get(str(loc[-1]), fix)
    return message, fix


def _node_at(data: Any, loc: Place) -> dict[str, Any] | None:
    if loc[:2] != ("dag", "nodes") or len(loc) < 4:
        return None
    node = data["dag"]["nodes"][loc[2]]
    return node if isinstance(node, dict) else None


def _message_and_fix(item: Any, loc: Place) -> tuple[str, str]:
    """Returns the message of a pydantic error at this place, and the fix if there is one for its kind."""
    kind, given = item["type"], item.get("input")
    if kind in _EXPLANATIONS:
        return _EXPLANATIONS[kind](item, loc)
    message = hints.plain(item)
    if kind == "too_short" and loc == ("dag", "nodes"):
        return "there are no nodes", "add at least one"
    if kind != "value_error" and "input" in item and isinstance(given, str | int | float | bool):
        message = f"{message[:1].lower()}{message[1:]}, got {_given(given)}"
    elif kind in {"too_short", "too_long"} and isinstance(given, dict | list | tuple):
        message = f"{message}, got {len(given):,}"
    elif kind != "value_error" and "input" in item and isinstance(given, dict | list):
        message = f"{message[:1].lower()}{message[1:]}, got {kind_of(given)}"
    if kind == "string_type" and isinstance(given, bool):
        return message, "YAML reads yes, no, on and off as booleans: put quotes around it"
    return message, hints.meant(item, _TYPES.get(str(given).lower(), ""))


def shown(value: str | float) -> str:
    """Returns a value of the author as a message shows it: the beginning, if it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}\u2026"


# What other languages call the types of JSON.
_TYPES: Final = {"str": "string", "text": "string", "int": "integer", "float": "number", "double": "number",
                 "bool": "boolean", "list": "array", "dict": "object", "map": "object"}  # fmt: skip


def _given(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else shown(value)


def _no_type(_item: Any, loc: Place) -> tuple[str, str]:
    what, kinds = {"body": ("body", BODY_TYPES), "compensate_with": ("compensation", UNDO_TYPES)}.get(
        str(loc[-1]), ("node", NODE_TYPES)
    )
    return f"the {what} has no `type`", f"add `type:` with one of {', '.join(kinds)}"


def _no_mapping(item: Any, _loc: Place) -> tuple[str, str]:
    return f"must be a mapping, got {kind_of(item['input'])}", ""


def _no_list(item: Any, loc: Place) -> tuple[str, str]:
    given = item["input"]
    if loc == ("lock",):
        return f"must be a mapping, or a list of mappings, got {kind_of(given)}", "write {key: ..., nodes: [...]}"
    return f"must be a list, got {kind_of(given)}", f"write [{given}]" if isinstance(given, str) else ""


def _other_text(item: Any, _loc: Place) -> tuple[str, str]:
    pattern = item["ctx"]["pattern"]
    fix = PATTERN_WORDS.get(pattern, f"write a text that matches {pattern}")
    return f"{shown(item['input'])} is not valid here", fix


def _other_type(item: Any, loc: Place) -> tuple[str, str]:
    kinds, given = item["ctx"]["expected_tags"].replace("'", ""), str(item["ctx"]["tag"])
    if given in NODE_TYPES and "body" in loc[-2:]:
        fix = f"put it into a workflow of its own and use a subworkflow, or use {kinds}"
        return f"a {given} can't be a body here", fix
    hint = hints.did_you_mean(given, kinds.split(", "), cutoff=0.7)
    if given == "condition":
        hint = "a condition stands on an edge: {from: a, to: b, condition: ...};"
    return f"unknown node type {given!r}", f"{hint} use one of {kinds}".lstrip()


_EXPLANATIONS: Final[dict[str, Callable[[Any, Place], tuple[str, str]]]] = {
    "union_tag_invalid": _other_type,
    "union_tag_not_found": _no_type,
    "extra_forbidden": lambda _, loc: (f"unknown field {loc[-1]!r}", ""),
    "missing": lambda _, loc: (f"the field {loc[-1]!r} is missing", f"add `{loc[-1]}:`"),
    "string_pattern_mismatch": _other_text,
    "dict_type": _no_mapping,
    "model_type": _no_mapping,
    "model_attributes_type": _no_mapping,
    "tuple_type": _no_list,
}


_NO_MAPPING: Final = ("dict_type", "model_type", "model_attributes_type")
