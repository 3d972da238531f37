"""The nodes of a definition as a comparison needs them: what a node does, apart from its name and its place. Pure.

Works on canonical definitions, so order, spelling and defaults make no difference.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

HOLE: Final = "\N{SECTION SIGN}"  # stands for a node's name in the content of another one
_NAMES: Final = ("tool_name", "function_name", "prompt_ref", "workflow", "prompt", "model")
_PLACE: Final = frozenset({"id", "depends_on"})
_LISTS: Final = frozenset({"depends_on", "nodes", "interrupt_before", "interrupt_after"})
_SINGLE: Final = frozenset({"from", "to", "on_timeout", "entry_point"})
_WORD: Final = re.compile(r"(?<![\w.-])([A-Za-z_][A-Za-z0-9_-]*)(?=\.(?:output|status|error)\b)")


class Node(msgspec.Struct):
    """A node, apart from its name."""

    id: str
    kind: str
    called: str  # the tool, function, prompt or workflow that it calls
    content: str  # its configuration as JSON, with HOLE for the names of nodes
    reads: tuple[str, ...]  # the names in whose place HOLE stands, in order
    leaves: frozenset[tuple[str, bytes]] = frozenset()  # the parts of the content, with their places
    sources: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()


def nodes_of(definition: Mapping[str, Any]) -> dict[str, Node]:
    """Returns the nodes by id, in the definition's order."""
    raw = {str(node["id"]): node for node in definition.get("dag", {}).get("nodes", ())}
    sources: dict[str, set[str]] = {name: set() for name in raw}
    for edge in definition.get("dag", {}).get("edges", ()):
        if edge["to"] in sources and edge["from"] in raw and edge.get("max_iterations") is None:
            sources[edge["to"]].add(edge["from"])
    found: dict[str, Node] = {}
    for name, node in raw.items():
        content, reads = _content(node, raw)
        sources[name].update(source for source in node.get("depends_on", ()) if source in raw)
        sources[name].update(word for word in reads if word != name)
        found[name] = Node(name, str(node.get("type", "")), _called(node), content, reads)
    targets: dict[str, set[str]] = {name: set() for name in raw}
    for name, into in sources.items():
        found[name].sources = frozenset(into)
        for source in into:
            targets[source].add(name)
    for name, out in targets.items():
        found[name].targets = frozenset(out)
    return found


def _content(node: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    own = {key: value for key, value in node.items() if key not in _PLACE}
    text = msgspec.json.encode(own, order="sorted").decode()
    reads: list[str] = []

    def hole(name: str) -> str:
        if name in known:
            reads.append(name)
            return HOLE
        return name

    if "\\" in text or any(f'"{key}"' in text for key in (*_SINGLE, *_LISTS)):
        text = msgspec.json.encode(renamed(msgspec.json.decode(text), hole), order="sorted").decode()
    else:  # no text has an escape in front of a name
        text = _WORD.sub(lambda match: hole(match[1]), text)
    return text, tuple(reads)


def leaves_of(node: Node) -> frozenset[tuple[str, bytes]]:
    """Returns the parts of a node's content with their places; made when they are first asked for."""
    if not node.leaves:
        node.leaves = frozenset(_leaves(msgspec.json.decode(node.content), ""))
    return node.leaves


def _leaves(value: Any, place: str) -> Iterator[tuple[str, bytes]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{place}.{key}")
    elif isinstance(value, list) and value:
        for item in value:
            yield from _leaves(item, f"{place}[]")
    else:
        yield place, msgspec.json.encode(value)


def _called(node: Mapping[str, Any]) -> str:
    config = node.get("config", {})
    while isinstance(config, dict) and isinstance(config.get("body"), dict):
        config = config["body"].get("config", {})
    return next((str(config[name]) for name in _NAMES if isinstance(config, dict) and config.get(name)), "")


def renamed(value: Any, name: Callable[[str], str]) -> Any:
    """Returns a definition, or a part of one, in which nodes have other names. name: the new name of an old one."""
    if isinstance(value, str):
        return _WORD.sub(lambda match: name(match[1]), value) if "." in value else value
    if isinstance(value, dict):
        return {key: _renamed_field(key, item, name) for key, item in value.items()}
    return [renamed(item, name) for item in value] if isinstance(value, list | tuple) else value


def _renamed_field(key: str, value: Any, name: Callable[[str], str]) -> Any:
    if isinstance(value, str) and key in _SINGLE:
        return name(value)
    if key in _LISTS and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return [name(item) for item in value]
    return renamed(value, name)


def with_names(definition: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Returns a definition whose nodes have other names. names: new by old."""
    changed: dict[str, Any] = renamed(dict(definition), lambda name: names.get(name, name))
    for node in changed.get("dag", {}).get("nodes", ()):
        node["id"] = names.get(node["id"], node["id"])
    return changed


def contracted(nodes: Mapping[str, Node], kept: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Returns the sources of each node that has a partner, with nodes that have none replaced by their own sources.

    kept: the name under which a node is shown, for the nodes with a partner. An inserted node moves no other one.
    """
    return {name: _reached(name, nodes, kept) for name in kept if name in nodes}


def _reached(name: str, nodes: Mapping[str, Node], kept: Mapping[str, str]) -> frozenset[str]:
    found: set[str] = set()
    passed = {name}
    ahead = list(nodes[name].sources)
    while ahead:
        source = ahead.pop()
        if source in passed:
            continue
        passed.add(source)
        if source in kept:
            found.add(kept[source])
        else:
            ahead.extend(nodes[source].sources)
    return frozenset(found)


def signatures(nodes: Mapping[str, Node], *, down: bool) -> dict[str, str]:
    """Returns a digest of each node's content and of all that leads to it; down: of all that it leads to.

    Names don't count. Nodes in a circle have a digest of their content alone.
    """
    waits = {name: len(node.targets if down else node.sources) for name, node in nodes.items()}
    ready = [name for name, number in waits.items() if not number]
    found: dict[str, str] = {}
    while ready:
        name = ready.pop()
        node = nodes[name]
        before = sorted(found[other] for other in (node.targets if down else node.sources))
        found[name] = hashlib.sha256("\0".join((node.kind, node.content, *before)).encode()).hexdigest()
        for other in node.sources if down else node.targets:
            waits[other] -= 1
            if not waits[other]:
                ready.append(other)
    return {name: found.get(name) or f"{node.kind} {node.content}" for name, node in nodes.items()}
