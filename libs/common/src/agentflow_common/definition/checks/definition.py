"""Checks beyond the schema: unique ids, ends of edges, cycles, references, templates and conditions."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator

from agentflow_common.definition.checks.detached import detached_findings
from agentflow_common.definition.checks.edges import edge_findings, sent_findings
from agentflow_common.definition.checks.ends import end_findings, finally_findings, finally_reads
from agentflow_common.definition.checks.fields import field_findings
from agentflow_common.definition.checks.graph import graph_findings
from agentflow_common.definition.checks.inputs import input_findings
from agentflow_common.definition.checks.joins import join_findings
from agentflow_common.definition.checks.lanes import given_lane_findings, lane_findings, run_lane_findings
from agentflow_common.definition.checks.locks import lock_findings
from agentflow_common.definition.checks.maps import map_findings
from agentflow_common.definition.checks.names import (
    id_findings,
    refers,
    repeated,
    suggest,
)
from agentflow_common.definition.checks.policies import model_findings, retry_findings, timeout_findings
from agentflow_common.definition.checks.values import Values
from agentflow_common.definition.dependencies import Loop, dependencies, loops, order_dependencies, waiting
from agentflow_common.definition.durations import time_ms, wait_ms
from agentflow_common.definition.model import PROBLEMS_MAX, Definition
from agentflow_common.definition.nodes.calls import all_inputs, local_names, map_levels, names_at_end, works
from agentflow_common.definition.nodes.types import (
    AnyNode,
    ApprovalNode,
    ContinueNode,
    EndNode,
    LoopNode,
    MapNode,
    SignalNode,
    WaitNode,
)
from agentflow_common.definition.walks import cycle
from agentflow_common.events import PROMPT
from agentflow_common.expressions import language as expressions
from agentflow_common.places import Finding, Place


def check(definition: Definition) -> list[Finding]:
    """Returns every problem of a definition as (path, message, fix), at most PROBLEMS_MAX."""
    return list(itertools.islice(_all(definition), PROBLEMS_MAX))


def _all(definition: Definition) -> Iterator[Finding]:
    index: dict[str, int] = {}
    for number, node in enumerate(definition.dag.nodes):
        if node.id in index:
            yield (
                ("dag", "nodes", number, "id"),
                f"the id {node.id!r} is taken by dag.nodes[{index[node.id]}]",
                "rename one",
            )
        index.setdefault(node.id, number)
    if len(index) < len(definition.dag.nodes):
        return
    yield from _ids(definition)
    values = Values(definition, index)
    sources = {} if definition.graph is not None else dependencies(definition)
    of_parts = itertools.chain(
        _inputs(definition),
        edge_findings(definition, index, values),
        sent_findings(definition, values),
        _policies(definition),
        run_lane_findings(definition),
        lock_findings(definition, index),
        *(
            _Node(number, node, index, values, [name for name, _ in sources.get(node.id, ())]).findings()
            for number, node in enumerate(definition.dag.nodes)
        ),
        values.check(("outputs",), definition.outputs),
        _parts_of_steps(definition, index),
        graph_findings(definition),
        field_findings(definition),
        end_findings(definition),
        detached_findings(definition),
        finally_findings(definition),
        retry_findings(definition),
        timeout_findings(definition),
        model_findings(definition),
    )
    first = next(of_parts, None)
    if first is None:
        yield from _order(definition)  # the order can be checked only if every part can be read
        yield from join_findings(definition)
        yield from finally_reads(definition)
    else:
        yield first
        yield from of_parts


def _ids(definition: Definition) -> Iterator[Finding]:
    hidden_by: dict[str, str] = {}
    for node in definition.dag.nodes:
        names = set(local_names(node))
        # map_findings reports a clash at a name that was chosen
        names -= {name for level in map_levels(node) for name in (level.item, level.index) if name != "index"}
        if node.compensate_with is not None:
            names |= {"output", "item", "index"} if getattr(node.config, "parallel", False) else {"output"}
        hidden_by.update((name, node.id) for name in names)
    for number, node in enumerate(definition.dag.nodes):
        place: Place = ("dag", "nodes", number, "id")
        yield from id_findings(place, node.id, in_graph=definition.graph is not None, hidden_by=hidden_by)


def _parts_of_steps(definition: Definition, index: dict[str, int]) -> Iterator[Finding]:
    """Yields outputs that were meant to refer to a step, but would be plain text."""
    for name, value in definition.outputs.items():
        step, _, part = value.partition(".") if isinstance(value, str) else ("", "", "")
        if step in index and part.isidentifier() and expressions.parse_reference(value) is None:
            text = f"{value!r} is a plain text here, and a step has output, status and error"
            yield ("outputs", name), text, f"write {step}.output.{part}, or {{{{'{value}'}}}} for the text"


def _inputs(definition: Definition) -> Iterator[Finding]:
    yield from input_findings(definition)
    for number, node in enumerate(definition.dag.nodes):
        if not isinstance(node, ContinueNode) or not definition.inputs:
            continue
        here: Place = ("dag", "nodes", number, "config")
        given = node.config.inputs
        for name in given:
            if name not in definition.inputs:
                yield (
                    (*here, "inputs", name),
                    "not an input of this workflow",
                    suggest(name, definition.inputs, "its inputs are"),
                )
        for name, spec in definition.inputs.items():
            if name not in given and spec.required and spec.default is None:
                yield here, f"the next run needs the input {name!r}", f'add it to `inputs`, as {name}: "{{{{{name}}}}}"'


def _policies(definition: Definition) -> Iterator[Finding]:
    for number, node in enumerate(definition.dag.nodes):
        if node.policy.on_truncated is not None and not any(work.type == "llm" for work in works(node)):
            place: Place = ("dag", "nodes", number, "policy", "on_truncated")
            yield place, f"{node.id!r} calls no model: only a model's answer can be cut off", "remove it"


class _Node:
    """The problems of one node."""

    def __init__(
        self, number: int, node: AnyNode, index: dict[str, int], values: Values, sources: Collection[str]
    ) -> None:
        self._sources = sources  # the nodes that lead to it; none in a graph
        self._here: Place = ("dag", "nodes", number)
        self._node = node
        self._index = index
        self._outer = values
        self._sent = values.sent(node.id)
        self._values = values.inside(node.id, local_names(node) | self._sent)

    def findings(self) -> Iterator[Finding]:
        here, node, config = self._here, self._node, self._node.config
        yield from self._values.condition((*here, "condition"), node.condition, names_at_end(node))
        yield from self._values.condition((*here, "config", "condition"), config.condition, names_at_end(node))
        if node.condition and config.condition:
            yield (*here, "condition"), "both `condition` and `config.condition` are given", "keep one"
        again = repeated(node.depends_on)  # `join: 2` would count such a node twice
        for position, name in enumerate(node.depends_on):
            if name not in self._index:
                yield (*here, "depends_on", position), f"there is no node {name!r}", suggest(name, self._index)
            elif position in again:
                yield (*here, "depends_on", position), f"the node {name!r} is listed twice", "remove one"
        yield from self._values.check((*here, "lane"), node.lane)
        yield from (((*here, field), message, fix) for field, message, fix in lane_findings(node))
        for work in works(node):
            undo = work.path[0] == "compensate_with"
            own = local_names(node) | self._sent | {"item", "index", "output"}
            values = self._outer.inside("", own) if undo else self._values
            for field in ("inputs", "tool_args", "function_args"):
                yield from values.check((*here, *work.path, field), getattr(work.config, field, None))
            yield from given_lane_findings(work, (*here, *work.path), values)
            if prompt := getattr(work.config, PROMPT, None):
                own = local_names(node) | self._sent | frozenset(work.config.inputs)
                yield from self._outer.inside(node.id, own).check((*here, *work.path, PROMPT), prompt)
        yield from self._by_type(node)
        yield from self._policy(node)
        if node.compensate_with is not None and works(node)[0].path[0] != "config":
            yield (*here, "compensate_with"), f"a {node.type} node does nothing that could be undone", "remove it"

    def _by_type(self, node: AnyNode) -> Iterator[Finding]:
        config = node.config
        if isinstance(node, MapNode):
            yield from map_findings((*self._here, "config"), node, self._outer, self._sent, self._index)
        elif isinstance(node, LoopNode):
            yield from self._loop(node)
        elif isinstance(node, WaitNode):
            yield from self._wait(node)
        elif isinstance(node, ApprovalNode):
            yield from self._approval(node)
        elif isinstance(node, EndNode):
            yield from self._values.check((*self._here, "config", "output"), node.config.output)
            yield from self._values.check((*self._here, "config", "error", "message"), node.config.error.message)
        elif isinstance(node, SignalNode):
            if node.config.on_timeout != "fail" and node.config.timeout_ms is None:
                place = (*self._here, "config", "on_timeout")
                yield place, "`on_timeout` needs `timeout_ms`: without it the step waits forever", "add it"
        elif getattr(config, "parallel", False) or getattr(config, "for_each", None):
            yield from self._parallel()

    def _policy(self, node: AnyNode) -> Iterator[Finding]:
        """Yields the limits of a policy that can't be enforced for this type of node."""
        here = (*self._here, "policy")
        kinds = {work.type for work in works(node) if work.path[0] == "config"}
        if node.policy.heartbeat_ms is not None and not kinds & {"tool", "function"}:
            yield (*here, "heartbeat_ms"), f"a {node.type} step sends no heartbeats", "use timeout_ms"
        if kinds:
            return
        own = {"signal": "config.timeout_ms", "approval": "config.expires_ms"}.get(node.type)
        for field in ("timeout_ms", "total_timeout_ms"):
            if getattr(node.policy, field) is not None:
                fix = f"use {own}" if own else "remove it"
                yield (*here, field), f"a {node.type} step has no attempts that could take too long", fix

    def _parallel(self) -> Iterator[Finding]:
        here, config = self._here, self._node.config
        for_each, parallel = getattr(config, "for_each", None), getattr(config, "parallel", False)
        if for_each and not parallel:
            yield (*here, "config", "for_each"), "`for_each` needs `parallel: true`", "add `parallel: true`"
        if parallel:
            given = all_inputs(self._node)
            if for_each and for_each not in given:
                place = (*here, "config", "for_each")
                yield place, f"{for_each!r} is not one of the inputs", suggest(for_each, given, "the inputs are")
            if not given and not self._takes_list_along_edge():
                yield (
                    (*here, "config", "parallel"),
                    "a parallel node needs an input that is a list",
                    "add it to `inputs`, or let one edge lead to the node",
                )

    def _takes_list_along_edge(self) -> bool:
        """True if exactly one node leads to this one, so that its output is the list. See edge_arguments.py."""
        return self._node.type in {"tool", "function", "llm"} and len(self._sources) == 1

    def _loop(self, node: LoopNode) -> Iterator[Finding]:
        here, config = (*self._here, "config"), node.config
        if config.until is not None and config.while_ is not None:
            yield here, "a loop takes one of `while` and `until`, not both", "remove one"
        elif config.until is None and config.while_ is None:
            yield here, "a loop needs either `while` or `until`", "for example until: previous.score >= 0.9"
        yield from self._values.condition((*here, "until"), config.until, {"iteration", "previous"})
        yield from self._values.condition((*here, "while"), config.while_, {"iteration", "previous"})

    def _wait(self, node: WaitNode) -> Iterator[Finding]:
        here, config = (*self._here, "config"), node.config
        if config.duration is not None and config.until is not None:
            yield here, "a wait takes one of `duration` and `until`, not both", "remove one"
        elif config.duration is None and config.until is None:
            yield here, "a wait needs either `duration` or `until`", "for example duration: 90s"
        yield from self._values.check((*here, "until"), config.until)
        yield from self._values.check((*here, "duration"), config.duration)
        for field, value, read in (("duration", config.duration, wait_ms), ("until", config.until, time_ms)):
            if value is None or (isinstance(value, str) and refers(value)):
                continue
            try:
                read(value)
            except ValueError as error:
                yield (*here, field), str(error), ""

    def _approval(self, node: ApprovalNode) -> Iterator[Finding]:
        here, config = (*self._here, "config"), node.config
        yield from self._values.check((*here, "message"), config.message)
        people = {*config.approvers, *config.escalate_to}
        known = not any(expressions.is_template(name) or expressions.parse_reference(name) for name in people)
        if config.approvers and known and config.required > len(people):
            yield (*here, "required"), "more approvals are required than there are approvers", "lower it"
        if bool(config.escalate_to) != (config.escalate_ms is not None):
            yield here, "`escalate_ms` and `escalate_to` go together", "give both"
        if config.on_expire != "fail" and config.expires_ms is None:
            yield (*here, "on_expire"), "`on_expire` needs `expires_ms`: without it nothing expires", "add it"


def _order(definition: Definition) -> Iterator[Finding]:
    """Yields cycles, back edges that don't go back, and loops that overlap."""
    if definition.graph is not None:
        return
    sources = dependencies(definition)
    found = loops(definition, sources)
    reads = order_dependencies(definition, sources, found)
    circle = cycle(waiting(sources, reads, found))
    if circle:
        text = f"the nodes form a cycle: {' -> '.join(circle)}"
        yield (
            _of_cycle(definition, circle),
            text,
            "remove one of these edges or references, or give the edge back `max_iterations`",
        )
        return
    numbers = {(e.source, e.target): n for n, e in enumerate(definition.dag.edges)}
    for loop in found:
        place: Place = ("dag", "edges", numbers[loop.source, loop.target])
        if not loop.body:
            yield (
                place,
                f"{loop.target!r} does not lead to {loop.source!r}: this edge does not go back",
                ("remove its `max_iterations`"),
            )
    yield from _nesting(found, numbers)


def _of_cycle(definition: Definition, circle: list[str]) -> Place:
    """Returns the place of a cycle: the edges if one is in it, else its first node in the text."""
    if any(edge.source in circle and edge.target in circle for edge in definition.dag.edges):
        return ("dag", "edges")
    return ("dag", "nodes", next(n for n, node in enumerate(definition.dag.nodes) if node.id in circle))


def _nesting(found: list[Loop], numbers: dict[tuple[str, str], int]) -> Iterator[Finding]:
    for position, inner in enumerate(found):
        for outer in found[position + 1 :]:
            shared = set(inner.body) & set(outer.body)
            same_end = inner.source == outer.source
            if shared and not same_end and not set(inner.body) <= set(outer.body):
                yield (
                    ("dag", "edges", numbers[outer.source, outer.target]),
                    f"the loops {inner.edge} and {outer.edge} overlap",
                    "one must lie within the other, or end at the same node",
                )
