"""Readers of definitions for the fake: which nodes wait for which, and when a wait ends by itself."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def on_failure(node: dict[str, Any]) -> str:
    return str((node.get("policy") or {}).get("on_failure", "fail"))


def sources(definition: dict[str, Any], nodes: dict[str, Any]) -> dict[str, set[str]]:
    """Returns the nodes that each node waits for: by edges, `depends_on` and references, without edges back."""
    found: dict[str, set[str]] = {}
    for name, node in nodes.items():
        text = json.dumps(node, default=str)
        named = {other for other in nodes if re.search(rf"\b{re.escape(other)}\.output\b", text)}
        found[name] = {str(source) for source in node.get("depends_on") or ()} | named
    for edge in (definition.get("dag") or {}).get("edges") or ():
        if edge.get("max_iterations") is None and str(edge.get("to")) in found:
            found[str(edge["to"])].add(str(edge.get("from")))
    for name in nodes:  # a source that closes a circle is an edge back
        found[name] = {s for s in found[name] if s in nodes and s != name and not leads(found, name, s)}
    return found


def leads(sources: dict[str, set[str]], start: str, end: str) -> bool:
    """True if `end` waits for `start`, directly or through others."""
    todo, seen = [end], set()
    while todo:
        name = todo.pop()
        if name == start:
            return True
        if name not in seen:
            seen.add(name)
            todo.extend(sources.get(name, ()))
    return False


def until(kind: str, config: dict[str, Any], now: int) -> int:
    """Returns when a step stops waiting by itself; 0 for never. A time that is not known here (a template) is now."""
    field = {"wait": "duration", "signal": "timeout_ms", "approval": "expires_ms"}[kind]
    if kind == "wait" and "until" in config:
        return time_ms(config["until"], now)
    value = config.get(field)
    if value is None:
        return now if kind == "wait" else 0
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", str(value))
    return now + int(value if isinstance(value, int | float) else sum(float(n) * _UNIT_MS[u] for n, u in parts))


def time_ms(value: Any, now: int) -> int:
    if isinstance(value, int | float):
        return int(value)
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return now
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
