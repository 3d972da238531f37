"""The checks of a definition that need no server: names, ids, ends of edges, references, cycles."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, get_args

from agentflow_sdk.choices import FailOrContinue, MapResult
from agentflow_sdk.errors import InvalidArgumentError
from agentflow_sdk.problems import Problem

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
_PROMPT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}(@[A-Za-z0-9_.-]{1,64})?\Z")
_REFERENCE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)\.(?:output|status|error)(?:[.\[].*)?\Z")
_ARGUMENTS: Final = ("inputs", "tool_args", "function_args", "over")
END: Final = "END"


def one_of(text: str | None, kinds: Any, place: str) -> str | None:
    """Returns the text if it is None or one of a Literal's. Raises InvalidArgumentError that lists these."""
    known = get_args(kinds)
    if text is None or text in known:
        return text
    close = difflib.get_close_matches(text, known, n=1)
    fix = f"did you mean {close[0]}?" if close else f"use {', '.join(known)}"
    raise InvalidArgumentError.at(place, f"{text!r} is not one of {', '.join(known)}", fix)


def milliseconds(seconds: float, place: str) -> int:
    """Returns a duration in milliseconds. Raises InvalidArgumentError unless it is above 0."""
    if not 0 < seconds < float("inf"):
        raise InvalidArgumentError.at(place, f"{seconds} seconds is not a duration", "give a number above 0")
    return max(1, round(seconds * 1000))


def names(given: str | type | Iterable[str | type]) -> list[str]:
    """Returns the names. A lone text is one name, and a class, such as an exception, stands for its name."""
    listed = [given] if isinstance(given, str | type) else given
    return [item.__name__ if isinstance(item, type) else item for item in listed]


def given(**options: Any) -> dict[str, Any]:
    """Returns the options that are not None."""
    return {key: value for key, value in options.items() if value is not None}


def map_config(place: str, body: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Returns the configuration of a map with the options that are not None. Raises InvalidArgumentError."""
    one_of(options["on_item_failure"], FailOrContinue, f"{place}.on_item_failure")
    one_of(options["result"], MapResult, f"{place}.result")
    return {**given(**options), "body": body}


def problems(data: dict[str, Any]) -> Iterable[Problem]:
    """Yields the problems of a definition in plain data. Templates and conditions are left to the server."""
    nodes, edges = data["dag"]["nodes"], data["dag"]["edges"]
    is_graph = "graph" in data
    if not NAME.match(data["name"]):
        yield Problem("name", f"{data['name']!r} is not a name", "use a letter, then letters, digits, '_' or '-'")
    if data["version"] < 1:
        yield Problem("version", f"{data['version']} is below 1", "versions count from 1")
    if not nodes:
        yield Problem("dag.nodes", "there is no node", "add one with tool(), llm(), function(), ...")
    ids = {node["id"] for node in nodes}
    seen: set[str] = set()
    for index, node in enumerate(nodes):
        yield from _node(f"dag.nodes[{index}]", node, seen, ids, is_graph or _goes_back(edges))
        seen.add(node["id"])
    for index, edge in enumerate(edges):
        for end in ("from", "to"):
            if edge[end] not in ids and not (is_graph and end == "to" and edge[end] == END):
                yield Problem(f"dag.edges[{index}].{end}", f"there is no node {edge[end]!r}", _known(ids))
    yield from _references("outputs", data.get("outputs", {}), ids, "")
    if is_graph:
        if data["graph"]["entry_point"] not in ids:
            entry = data["graph"]["entry_point"]
            yield Problem("graph.entry_point", f"there is no node {entry!r}", _known(ids))
        return
    loop = _cycle(nodes, [edge for edge in edges if "max_iterations" not in edge])
    if loop:
        text = f"the nodes form a cycle: {' -> '.join(loop)}"
        yield Problem("dag.edges", text, "remove one of these edges, or give the edge back `max_iterations`")


def _goes_back(edges: list[dict[str, Any]]) -> bool:
    return any("max_iterations" in edge for edge in edges)


def _known(ids: Iterable[str]) -> str:
    return f"the nodes are {', '.join(sorted(ids)[:12])}"


def _node(place: str, node: dict[str, Any], seen: set[str], ids: set[str], cyclic: bool) -> Iterable[Problem]:
    if not NAME.match(node["id"]):
        yield Problem(f"{place}.id", f"{node['id']!r} is not an id", "use a letter, then letters, digits, '_' or '-'")
    if node["id"] in seen:
        yield Problem(f"{place}.id", f"the id {node['id']!r} is taken", "rename one")
    owner = "" if cyclic else node["id"]
    yield from _work(f"{place}.config", node["config"], ids, owner)
    inner, body = f"{place}.config", node["config"].get("body")
    while body is not None:
        inner = f"{inner}.body.config"
        yield from _work(inner, body["config"], ids, owner)
        body = body["config"].get("body")
    undo = node.get("compensate_with")
    if undo is not None:
        yield from _work(f"{place}.compensate_with.config", undo["config"], ids, "")


def _work(place: str, config: dict[str, Any], ids: set[str], owner: str) -> Iterable[Problem]:
    ref = config.get("prompt_ref")
    if ref is not None and not _PROMPT.match(ref):
        yield Problem(f"{place}.prompt_ref", f"{ref!r} is not a prompt reference", "write `name` or `name@3`")
    for key in ("tool_name", "function_name", "workflow"):
        if key in config and not config[key]:
            yield Problem(f"{place}.{key}", "is empty", "name the one to call")
    if config.get("parallel") and not any(config.get(key) for key in _ARGUMENTS):
        yield Problem(f"{place}.parallel", "a parallel node needs an input that is a list", "add .inputs(...)")
    for key in _ARGUMENTS:
        yield from _references(f"{place}.{key}", config.get(key, {}), ids, owner)


def _references(place: str, value: Any, ids: set[str], owner: str) -> Iterable[Problem]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _references(f"{place}.{key}", item, ids, owner)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _references(f"{place}[{index}]", item, ids, owner)
    elif isinstance(value, str):
        match = _REFERENCE.match(value)
        if match and match[1] not in ids:
            yield Problem(place, f"{value!r} refers to {match[1]!r}, and there is no such node", _known(ids))
        elif match and match[1] == owner:
            yield Problem(place, f"{value!r} refers to the node itself", "refer to a node that runs before")


def _cycle(nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> list[str]:
    """Returns the ids along one cycle of the edges, with the first one again at the end, or an empty list."""
    sorter = TopologicalSorter({node["id"]: () for node in nodes})
    ids = {node["id"] for node in nodes}
    for edge in edges:
        if edge["from"] in ids and edge["to"] in ids:
            sorter.add(edge["to"], edge["from"])
    try:
        sorter.prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []
