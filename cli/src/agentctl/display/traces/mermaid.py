"""The run as a flowchart in Mermaid's language: the nodes of its definition, each with its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agentctl.display.output import duration, money
from agentctl.display.traces.family import Member, families, walk

if TYPE_CHECKING:
    from agentflow_sdk import Trace

EDGES_MAX: Final = 450  # Mermaid draws at most 500 edges and 50,000 characters unless its page says more
NODES_MAX: Final = 300
LABEL_MAX: Final = 60
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-.,+/@")
_CLASSES: Final = {
    "completed": "fill:#dcfce7,stroke:#15803d,color:#14532d",
    "failed": "fill:#fee2e2,stroke:#b91c1c,color:#7f1d1d",
    "outcome_unknown": "fill:#fee2e2,stroke:#b91c1c,color:#7f1d1d",
    "cancelled": "fill:#fef9c3,stroke:#a16207,color:#713f12",
    "skipped": "fill:#f3f4f6,stroke:#6b7280,color:#374151,stroke-dasharray:4",
    "pending": "fill:#f3f4f6,stroke:#6b7280,color:#374151",
}
_ACTIVE: Final = "fill:#dbeafe,stroke:#1d4ed8,color:#1e3a8a"


def mermaid(trace: Trace) -> str:
    """Returns a flowchart. The edges of the critical path are thick. Names can't leave their labels."""
    from agentflow_common.runs.state import node_of

    members = [member for _, member in walk(families(trace))]
    by_node: dict[str, list[Member]] = {}
    for member in members:
        by_node.setdefault(node_of(member.key), []).append(member)
    nodes = {node.id: node for node in trace.nodes}
    names = list(nodes) or list(by_node)
    ids = {name: f"n{number}" for number, name in enumerate(names[:NODES_MAX])}
    critical = {node_of(part.step) for part in trace.critical_path if part.step}
    lines = ["flowchart TD"]
    used: set[str] = set()
    for name, at in ids.items():
        found = by_node.get(name, [])
        status = _status(found)
        used.add(status)
        label = [name, _about(nodes[name].kind if name in nodes else "", found)]
        text = "<br/>".join(_escape(part) for part in label if part)
        lines.append(f'  {at}["{text}"]:::{status}')
    edges = [(one, name, "-->") for name in ids if name in nodes for one in nodes[name].waits_for if one in ids]
    edges += [(name, to, "-.->") for name in ids if name in nodes for to in nodes[name].loops_to if to in ids]
    for source, target, arrow in edges[:EDGES_MAX]:
        thick = arrow == "-->" and source in critical and target in critical
        lines.append(f"  {ids[source]} {'==>' if thick else arrow} {ids[target]}")
    lines += [f"  classDef {status} {_CLASSES.get(status, _ACTIVE)}" for status in sorted(used)]
    left_out = len(names) - len(ids), len(edges) - min(len(edges), EDGES_MAX)
    if any(left_out):
        lines.append(f"  %% left out: {left_out[0]} nodes and {left_out[1]} edges")
    return "\n".join(lines) + "\n"


def _status(members: list[Member]) -> str:
    own = [member for member in members if not member.key.endswith((":undo", "]"))] or members
    return own[-1].newest.status.value if own else "pending"


def _about(kind: str, members: list[Member]) -> str:
    if not members:
        return f"{kind}, not reached".lstrip(", ")
    began, ended = min(member.began for member in members), max(member.ended for member in members)
    attempts = sum(len(member.attempts) for member in members)
    cost = sum(member.own_cost_nano for member in members)
    parts = [
        kind,
        duration(ended - began) if began and ended >= began else "",
        money(cost) if cost else "",
        f"{attempts} attempts" if attempts > 1 else "",
    ]
    return ", ".join(part for part in parts if part)


def _escape(text: str) -> str:
    """Returns a text as Mermaid's character codes, except for plain letters and digits."""
    shown = text if len(text) <= LABEL_MAX else text[: LABEL_MAX - 3] + "..."
    return "".join(char if char in _PLAIN else f"#{ord(char)};" for char in shown)
