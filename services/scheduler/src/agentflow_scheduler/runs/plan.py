"""A definition compiled for deciding: who waits for whom, and inputs as closures over the run's values. Pure."""

from __future__ import annotations

import copy
import re
from collections import OrderedDict
from collections.abc import Collection, Mapping
from graphlib import TopologicalSorter
from types import MappingProxyType
from typing import Any, Final

import msgspec

from agentflow_common import ids
from agentflow_common.definition import dependencies
from agentflow_common.definition.model import Edge, load_trusted
from agentflow_common.definition.nodes.base import SUBWORKFLOW_DEPTH_MAX
from agentflow_common.definition.nodes.calls import Work, all_inputs, arguments, map_items, works
from agentflow_common.definition.nodes.configs import MapBody
from agentflow_common.definition.nodes.policy import Policy, Retry
from agentflow_common.definition.nodes.run_lane import RunLane
from agentflow_common.definition.nodes.types import AnyNode, MapNode
from agentflow_common.definition.rates import per_second
from agentflow_common.definition.walks import reachable
from agentflow_common.errors import InvalidError
from agentflow_common.events import PROMPT, OutputRef
from agentflow_common.expressions.language import is_template, parse_reference, template
from agentflow_common.expressions.state_schema import Schema
from agentflow_scheduler.bounds import CHAIN_STEPS
from agentflow_scheduler.runs.scope import (
    RAN,
    Resolver,
    Scope,
    at_field,
    compile_value,
    gathered,
    holds,
    in_field,
    taken,
)

PLANS_MAX: Final = 256
_STATE_KEY: Final = re.compile(r"\{\{\s*state(?:\.(\w+)|\['(\w+)'\])\s*\}\}\Z")
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_HIDDEN: Final = {"inputs", "tool_args", "function_args", "condition", "parallel", "for_each", PROMPT}


class PlanRunLane(msgspec.Struct, frozen=True):
    """The lane of a workflow's runs, or the one that a node gives a run, compiled."""

    key: Resolver
    limit: int
    rate: float | None
    policy: str

    @classmethod
    def of(cls, lane: RunLane, steps: Collection[str] = ()) -> PlanRunLane:
        rate = None if lane.rate is None else per_second(lane.rate)
        return cls(compile_value(lane.key, steps), lane.limit, rate, lane.policy)


class PlanWork:
    """The work of a node as its tasks name it, with closures that compute the inputs."""

    def __init__(self, work: Work, retry: Retry, given: Mapping[str, Any], steps: Collection[str]) -> None:
        self.kind: str = work.type
        self.retry = retry
        self.prompt_ref: str = getattr(work.config, "prompt_ref", None) or ""
        self.workflow_ref: str = getattr(work.config, "workflow", "")
        self.detached: bool = getattr(work.config, "detached", False)
        lane: RunLane | None = getattr(work.config, "run_lane", None)
        self.run_lane = None if lane is None else PlanRunLane.of(lane, steps)  # of the subworkflow's run
        self.state_args: bool = work.config.state_args
        self.inputs = {name: compile_value(value, steps) for name, value in given.items()}
        own = f"{work.type}_args"  # of a tool or a function; they win over `inputs`
        named = getattr(work.config, own, ())
        # By input: its place in the definition, and the steps that it refers to.
        self.fields = {name: f"{own if name in named else 'inputs'}.{name}" for name in given}
        known = dict.fromkeys(steps)
        self.reads = {name: frozenset(dependencies.referenced_steps(value, known)) for name, value in given.items()}
        # Inputs that are exactly a part of a step's output, or exactly one key of the shared state.
        self.refs = {name: ref for name, value in given.items() if (ref := _output_ref(value)) is not None}
        self.keys = {name: key for name, value in given.items() if (key := _state_key(value))}
        # A prompt whose text the definition has, and the inputs that it may read by name.
        text: str | None = getattr(work.config, PROMPT, None)
        self.prompt: Resolver | None = None if text is None else compile_value(text, steps)
        self.prompt_reads = template(text).variables if text is not None and is_template(text) else frozenset()
        self.config: dict[str, Any] = work.config.model_dump(mode="json", exclude=_HIDDEN, exclude_defaults=True)

    def resolve(self, scope: Scope, sent: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
        """Computes the inputs. Raises ExpressionError, NeedBlob.

        sent: the values that an edge of a graph gave the step, in place of the state and of inputs of the same names.
        """
        given = {**gathered(self.inputs, scope, self.fields), **sent}
        if not self.state_args or sent:
            return given
        whole = scope.shared_by_reference()
        return {**({"state": whole} if self.kind in {"tool", "function"} else whole), **given}

    def with_prompt(self, inputs: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Returns the inputs of an attempt with the text of its prompt, if the definition has it.

        Raises ExpressionError, NeedBlob.
        """
        if self.prompt is None:
            return inputs
        own = {name: value for name, value in inputs.items() if name in self.prompt_reads}
        return {**inputs, PROMPT: in_field(PROMPT, lambda ask: ask(scope.within(own).looked_into()), self.prompt)}


def _output_ref(value: Any) -> OutputRef | None:
    reference = parse_reference(value) if isinstance(value, str) else None
    return OutputRef(reference[0], reference[2]) if reference is not None and reference[1] == "output" else None


def _state_key(value: Any) -> str:
    found = _STATE_KEY.match(value) if isinstance(value, str) else None
    return (found[1] or found[2]) if found else ""


class PlanNode:
    """One node, compiled."""

    def __init__(self, node: AnyNode, sources: list[tuple[str, str | None]], reads: list[str], steps: Collection[str]):
        self.id: str = node.id
        self.kind: str = node.type
        self.config: Any = node.config
        self.policy: Policy = node.policy
        self.retry: Retry = node.policy.retry
        self.timeout_ms: int | None = node.policy.timeout_ms
        self.sources = sources  # (step, condition) of its incoming edges
        self.reads = reads  # steps that it refers to without an edge
        self.targets: list[str] = []  # nodes that wait for this one
        self.back: list[dependencies.Loop] = []  # the back edges that leave it, the innermost first
        self.condition: str | None = node.condition or node.config.condition
        self.pool: str = node.worker_pool
        self.lane_key: Resolver | None = compile_value(node.lane, steps) if node.is_keyed else None
        self.lane_limit = node.lane_limit
        self.lane_rate = None if node.lane_rate is None else per_second(node.lane_rate)
        self.priority = node.priority
        self.locks: tuple[int, ...] = ()  # the numbers of the locks around it
        self.writes = node.writes
        self.at_end = node.at_end  # see steps/finally_nodes.py
        self.need: int = 0 if node.join == "all" else 1 if node.join == "any" else node.join  # see steps/joins.py
        self.levels: tuple[PlanNode, ...] = ()  # of a map with maps in it: itself, and as it is for its children, ...
        self.parallel: bool = node.type == "map" or bool(getattr(node.config, "parallel", False))
        self.for_each: str | None = getattr(node.config, "for_each", None)
        self.work: PlanWork | None = None  # for a worker or a subworkflow
        self.undo: PlanWork | None = None  # its compensation
        values = all_inputs(node)
        for work in works(node):
            if work.path[0] == "compensate_with":
                assert node.compensate_with is not None  # noqa: S101
                self.undo = PlanWork(work, node.compensate_with.retry, arguments(work), steps)
            else:
                self.work = PlanWork(work, self.retry, arguments(work), steps)
                values = map_items(node.config) if isinstance(node, MapNode) else {}
        # What the engine itself computes: `over`, `duration`, `message`, ...
        self.values = {name: compile_value(value, steps) for name, value in values.items()}
        self.worker_policy: dict[str, Any] = node.policy.model_dump(
            mode="json", include={"quality", "sla_ms", "cache", "model", "on_truncated"}, exclude_defaults=True
        )

    def add_levels(self, steps: Collection[str]) -> None:
        """Adds the maps in a map, once everything else about the node is known."""
        levels = [self]
        while isinstance(body := levels[-1].config.body if self.kind == "map" else None, MapBody):
            inner = copy.copy(self)
            inner.config = body.config
            inner.values = {name: compile_value(value, steps) for name, value in map_items(body.config).items()}
            levels.append(inner)
        if len(levels) > 1:
            for level in levels:
                level.levels = tuple(levels)

    def at_level(self, level: int) -> PlanNode:
        """Returns the node as it is for a part of a step. level: how many steps the part is in."""
        return self.levels[min(level, len(self.levels) - 1)] if self.levels else self

    @property
    def holds_maps(self) -> bool:
        """True for a map whose items are maps."""
        return bool(self.levels) and self is not self.levels[-1]


class PlanEdge(msgspec.Struct, frozen=True):
    """An edge of a graph, compiled."""

    source: str
    target: str
    condition: str | None
    max_iterations: int | None
    sends: bool  # the target is given values of its own
    over: Resolver | None
    item: str
    args: dict[str, Resolver]

    @property
    def name(self) -> str:
        return f"{self.source}->{self.target}"

    @classmethod
    def of(cls, edge: Edge, steps: Collection[str]) -> PlanEdge:
        over = None if edge.over is None else compile_value(edge.over, steps)
        args = {name: compile_value(value, steps) for name, value in edge.args.items()}
        return cls(edge.source, edge.target, edge.condition, edge.max_iterations, edge.sends, over, edge.item, args)


class PlanLock(msgspec.Struct, frozen=True):
    """A lock around several nodes, compiled."""

    key: Resolver
    nodes: tuple[str, ...]


class Plan:
    """A definition, compiled. The nodes of a graph-style workflow do not wait for each other."""

    def __init__(
        self, raw: dict[str, Any], chain_steps: int = CHAIN_STEPS, depth_max: int = SUBWORKFLOW_DEPTH_MAX
    ) -> None:
        definition = load_trusted(raw)
        sources = dependencies.dependencies(definition)
        loops = dependencies.loops(definition, sources)
        reads = dependencies.order_dependencies(definition, sources, loops)
        self.raw = raw  # the definition as the log has it, shared by all its runs
        self.chain_steps = chain_steps  # see chain.py
        self.depth_max = depth_max  # levels of runs below the submitted one
        self.definition = definition
        self.workflow = definition.name
        self.run_lane = None if definition.run_lane is None else PlanRunLane.of(definition.run_lane)
        self.locks = [PlanLock(compile_value(lock.key, sources), lock.nodes) for lock in definition.lock]
        self.graph = definition.graph
        self.nodes: dict[str, PlanNode] = {
            node.id: PlanNode(
                node, sources[node.id] if self.graph is None or node.at_end else [], reads[node.id], sources
            )
            for node in definition.dag.nodes
        }
        for number, lock in enumerate(self.locks):
            for name in lock.nodes:
                self.nodes[name].locks += (number,)
        # How many others each node waits for, and the nodes that wait for none.
        self.waits = {node.id: len(self.waits_for(node)) for node in self.nodes.values()}
        roots = [name for name, count in self.waits.items() if not count]
        self.roots = [name for name in roots if not self.nodes[name].at_end]
        self.last = tuple(node.id for node in self.nodes.values() if node.at_end)  # that run at the end
        self.last_roots = [name for name in roots if self.nodes[name].at_end]
        self.outgoing: dict[str, list[PlanEdge]] = {}  # a graph's edges by their source
        self.barriers: dict[str, frozenset[str]] = {}  # by barrier of a graph: the nodes with an edge to it
        self.schema: Schema | None = None  # of a graph's state
        if self.graph is not None:
            for edge in definition.dag.edges:
                self.outgoing.setdefault(edge.source, []).append(PlanEdge.of(edge, sources))
            for name in (node.id for node in definition.dag.nodes if node.barrier):
                self.barriers[name] = frozenset(edge.source for edge in definition.dag.edges if edge.target == name)
            if self.graph.state.json_schema:
                self.schema = Schema(self.graph.state.json_schema)
        self.loops = loops
        self.bodies = {loop.edge: frozenset(loop.body) for loop in loops}
        # Nodes that wait until the loop of a back edge is left, once for each edge that leads out of it.
        self.exits: dict[str, list[str]] = {loop.edge: [] for loop in loops}
        read = {source for node in self.nodes.values() for source in self.waits_for(node)}
        for node in self.nodes.values():
            if self.graph is None or node.at_end:
                for source in self.waits_for(node):
                    gate = self.gate(source, node.id)
                    (self.nodes[source].targets if gate is None else self.exits[gate.edge]).append(node.id)
        for loop in loops:
            self.nodes[loop.source].back.append(loop)
        for node in self.nodes.values():
            node.targets.sort(key=lambda name: not self.nodes[name].need)  # a join first: it may close the others
        # By node that joins: all nodes that lead to it, each after those that it leads to.
        self.joins = {node.id: self._before(node.id) for node in self.nodes.values() if node.need}
        self.outputs = {name: compile_value(value, sources) for name, value in definition.outputs.items()}
        self.ends = tuple(node.id for node in self.nodes.values() if node.kind == "end")
        self.sinks = [name for name in self.nodes if name not in {*read, *self.ends, *self.last}]
        for node in self.nodes.values():
            node.add_levels(sources)

    def gate(self, source: str, target: str) -> dependencies.Loop | None:
        """Returns the outermost loop that the edge leads out of."""
        bodies = ((loop, self.bodies[loop.edge]) for loop in reversed(self.loops))
        return next((loop for loop, body in bodies if source in body and target not in body), None)

    def _before(self, join: str) -> tuple[str, ...]:
        into = {name: self.waits_for(node) for name, node in self.nodes.items()}
        found = reachable([join], into)
        order = TopologicalSorter({name: [t for t in self.nodes[name].targets if t in found] for name in found})
        return tuple(name for name in order.static_order() if name != join)

    @staticmethod
    def waits_for(node: PlanNode) -> list[str]:
        """Returns the nodes that must be decided before this one."""
        return list(dict.fromkeys([*(source for source, _ in node.sources), *node.reads]))


class Plans:
    """Compiled plans by content, at most PLANS_MAX."""

    def __init__(self, chain_steps: int = CHAIN_STEPS, depth_max: int = SUBWORKFLOW_DEPTH_MAX) -> None:
        self._bounds = (chain_steps, depth_max)
        self._plans: OrderedDict[str, Plan] = OrderedDict()

    def get(self, raw: dict[str, Any]) -> Plan:
        key = ids.digest(msgspec.json.encode(raw))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = Plan(raw, *self._bounds)
            if len(self._plans) > PLANS_MAX:
                self._plans.popitem(last=False)
        else:
            self._plans.move_to_end(key)
        return plan


def skip_reason(scope: Scope, node: PlanNode, revisited: bool) -> str:
    """Returns why the node is skipped, or the empty string. Raises ExpressionError, NeedBlob.

    revisited: a back edge leads to the node and was taken.
    """
    if node.sources and not revisited:
        if not any(is_taken(scope, source, node.id, condition) for source, condition in node.sources):
            return "no incoming edge was taken"
    elif node.reads and not revisited and all(scope.status(name) not in RAN for name in node.reads):
        return "every step that it reads was skipped"
    return condition_reason(scope, node)


def condition_reason(scope: Scope, node: PlanNode) -> str:
    """Returns that the node's own condition is false, or the empty string. Raises ExpressionError, NeedBlob."""
    if node.condition is not None and not holds(scope, node.condition):
        return f"the condition is false: {node.condition}"
    return ""


def is_taken(scope: Scope, source: str, target: str, condition: str | None) -> bool:
    try:
        return taken(scope, source, condition)
    except InvalidError as error:
        raise at_field(f"the edge {source} -> {target}", error) from None
