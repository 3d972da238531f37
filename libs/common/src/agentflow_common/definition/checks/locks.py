"""Checks of a workflow's locks beyond the schema."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from agentflow_common.definition.checks.names import repeated, suggest, template_findings
from agentflow_common.definition.dependencies import referenced_steps
from agentflow_common.definition.model import BUILT_IN, Definition
from agentflow_common.expressions import language as expressions
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.places import Finding, Place

_ENDS_THE_RUN: Final = frozenset({"continue_as_new", "end"})


def lock_findings(definition: Definition, steps: Collection[str]) -> Iterator[Finding]:
    """Yields the problems of the locks: their nodes, and the names in their keys."""
    if definition.lock and definition.graph is not None:
        yield (
            ("lock",),
            "a graph's nodes can't be put under a lock",
            "put the lock into a subworkflow, or use `run_lane`",
        )
        return
    kinds = {node.id: node.type for node in definition.dag.nodes}
    locked = {name for lock in definition.lock for name in lock.nodes}
    for number, lock in enumerate(definition.lock):
        again = repeated(lock.nodes)
        for at, name in enumerate(lock.nodes):
            place: Place = ("lock", number, "nodes", at)
            if name not in kinds:
                yield place, f"there is no node {name!r}", suggest(name, steps)
            elif kinds[name] in _ENDS_THE_RUN:
                text = f"{name!r} ends the run, and a run gives its locks back at its end"
                yield place, text, "remove it from the list"
            elif at in again:
                yield place, f"the node {name!r} is listed twice", "remove one"
        yield from _key_findings(definition, number, lock.key, steps, locked)


def _key_findings(
    definition: Definition, number: int, key: str, steps: Collection[str], locked: Collection[str]
) -> Iterator[Finding]:
    place: Place = ("lock", number, "key")
    if expressions.is_template(key):
        yield from template_findings(place, key, steps, BUILT_IN, definition.inputs)
    try:
        read = list(referenced_steps(key, dict.fromkeys(steps)))
    except ExpressionError:
        return  # template_findings has reported it
    for name in read:
        if name in locked:
            text = f"a run takes its locks before {name!r} begins, so the key can't use it"
            yield place, text, "use inputs, or the output of a node that is under no lock"
        elif name not in steps:
            yield place, f"the key names {name!r}, but there is no such node", suggest(name, steps)
