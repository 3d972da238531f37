"""Checks of `on_timeout`."""

from __future__ import annotations

from collections.abc import Iterator

from agentflow_common.definition.checks.names import suggest
from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.types import AnyNode, ApprovalNode, SignalNode
from agentflow_common.places import Finding, Place


def timeout_findings(definition: Definition) -> Iterator[Finding]:
    """Yields the problems of the nodes that name another one for the case that they take too long."""
    nodes = {node.id for node in definition.dag.nodes}
    edges = {(edge.source, edge.target) for edge in definition.dag.edges}
    edges |= {(name, node.id) for node in definition.dag.nodes for name in node.depends_on}
    for number, node in enumerate(definition.dag.nodes):
        target = node.policy.on_timeout
        if target is None:
            continue
        here: Place = ("dag", "nodes", number, "policy", "on_timeout")
        if definition.graph is not None:
            fix = f"set `on_failure: continue`, and give an edge the condition {node.id}.error.type == 'timeout'"
            yield here, "a graph has no `on_timeout`", fix
        elif target not in nodes:
            yield here, f"there is no node {target!r}", suggest(target, nodes)
        elif target == node.id:
            yield here, f"{target!r} is the node itself", "name another node; `retry` tries the step again"
        elif (node.id, target) in edges:
            yield here, f"an edge leads from {node.id!r} to {target!r} in any case", "remove one of them"
        elif "-" in node.id:
            text = f"{node.id!r} can't stand in a condition, where `-` means minus, and this makes one"
            yield here, text, f"name the node {node.id.replace('-', '_')}"
        elif not _is_limited(node):
            yield here, f"nothing limits the time of {node.id!r}", _FIX.get(node.type, "add `timeout_ms`")


_FIX = {
    "signal": "add `config.timeout_ms`, with `on_timeout: fail` there",
    "approval": "add `config.expires_ms`, with `on_expire: fail` there",
}


def _is_limited(node: AnyNode) -> bool:
    if isinstance(node, SignalNode):
        return node.config.timeout_ms is not None and node.config.on_timeout == "fail"
    if isinstance(node, ApprovalNode):
        return node.config.expires_ms is not None and node.config.on_expire == "fail"
    policy = node.policy
    return any(limit is not None for limit in (policy.timeout_ms, policy.total_timeout_ms, policy.heartbeat_ms))
