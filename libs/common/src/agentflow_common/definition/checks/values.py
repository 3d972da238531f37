"""The checks of references and templates inside the values of a definition."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Set
from typing import Any

from agentflow_common.definition.checks.names import condition_findings, suggest, template_findings
from agentflow_common.definition.model import BUILT_IN, Definition
from agentflow_common.expressions import language as expressions
from agentflow_common.places import Finding, Place, texts


class Values:
    """The checks of references and templates anywhere inside a value."""

    def __init__(self, definition: Definition, index: dict[str, int]) -> None:
        self._index = index
        self._owner = ""
        self._local: frozenset[str] = frozenset()
        self._declared = definition.inputs
        self._by_edges = _sent_names(definition)
        self._cyclic = definition.graph is not None or any(e.max_iterations for e in definition.dag.edges)

    def sent(self, node: str) -> frozenset[str]:
        """Returns the names that edges of a graph give the node."""
        return self._by_edges.get(node, frozenset())

    def inside(self, owner: str, local: frozenset[str] = frozenset()) -> Values:
        """Returns the same checks for the values of the node `owner`, where the names in `local` have a meaning too."""
        found = copy.copy(self)
        found._owner = owner
        found._local = local
        return found

    def condition(self, place: Place, text: str | None, local: Set[str] = frozenset()) -> Iterator[Finding]:
        yield from condition_findings(
            place, text, self._index, {*BUILT_IN, *local, *self.sent(self._owner)}, self._declared
        )

    def check(self, place: Place, value: Any) -> Iterator[Finding]:
        for here, text in texts(value, place):
            reference = expressions.parse_reference(text)
            if reference is not None:
                yield from self._reference(here, text, reference[0])
            elif expressions.is_template(text):
                names = {*BUILT_IN, *self._local}
                yield from template_findings(here, text, self._index, names, self._declared)

    def _reference(self, place: Place, text: str, step: str) -> Iterator[Finding]:
        if step not in self._index:
            yield place, f"{text!r} refers to {step!r}, and there is no such node", suggest(step, self._index)
        elif step == self._owner and not self._cyclic:
            yield place, f"{text!r} refers to the node itself", "refer to a node that runs before"


def _sent_names(definition: Definition) -> dict[str, frozenset[str]]:
    """Returns by node the names of the values that edges of a graph give it."""
    found: dict[str, frozenset[str]] = {}
    for edge in definition.dag.edges if definition.graph is not None else ():
        if edge.sends:
            names = frozenset(edge.args or {edge.item})
            found[edge.target] = found.get(edge.target, frozenset()) | names
    return found
