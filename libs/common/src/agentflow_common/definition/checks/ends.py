"""Checks of `end` nodes."""

from __future__ import annotations

from collections.abc import Iterator

from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.types import EndNode
from agentflow_common.places import Finding, Place


def end_findings(definition: Definition) -> Iterator[Finding]:
    """Yields fields of `end` nodes that have no effect, and what would come after such a node."""
    ends = {node.id for node in definition.dag.nodes if isinstance(node, EndNode)}
    if not ends:
        return
    for number, node in enumerate(definition.dag.nodes):
        here: Place = ("dag", "nodes", number)
        for position, name in enumerate(node.depends_on):
            if name in ends:
                yield (
                    (*here, "depends_on", position),
                    f"the run ends at {name!r}, so nothing comes after it",
                    "remove it",
                )
        if isinstance(node, EndNode):
            yield from _end(here, node)
    for number, edge in enumerate(definition.dag.edges):
        if edge.source in ends and edge.target != "END":
            text = f"the run ends at {edge.source!r}, so nothing comes after it"
            yield ("dag", "edges", number), text, "remove the edge"


def _end(here: Place, node: EndNode) -> Iterator[Finding]:
    config = node.config
    if config.output is not None and config.status != "completed":
        text = f"a run that ends as {config.status} has no output"
        yield (*here, "config", "output"), text, "remove it, or say why in `error`"
    if "error" in config.model_fields_set and config.status == "completed":
        yield (*here, "config", "error"), "a run that completes has no error", "remove it, or set `status: failed`"
    if node.policy.on_failure == "continue":
        text = "the run ends at an `end` node, so it can't continue without it"
        yield (*here, "policy", "on_failure"), text, "give the node a `condition` instead"
