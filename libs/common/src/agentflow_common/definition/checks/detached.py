"""Checks of subworkflows that are started and not waited for: `detached: true`."""

from __future__ import annotations

from collections.abc import Iterator

from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.calls import works
from agentflow_common.places import Finding, Place


def detached_findings(definition: Definition) -> Iterator[Finding]:
    """Yields what means nothing for a run that its step does not wait for."""
    for number, node in enumerate(definition.dag.nodes):
        here: Place = ("dag", "nodes", number)
        if not any(work.type == "subworkflow" and work.config.detached for work in works(node)):
            continue
        if node.compensate_with is not None:
            text = "a detached run is no longer a part of this one, so its step has nothing to undo"
            yield (*here, "compensate_with"), text, "remove it, or remove `detached`"
        if node.policy.timeout_ms is not None:
            text = "the step is over as soon as the detached run has started"
            yield (*here, "policy", "timeout_ms"), text, "set `deadline_ms` in the workflow that it starts"
