"""Graph-style workflows: supersteps over a shared state, as Pregel and LangGraph have them. Pure.

The active nodes of a superstep run in parallel, each as a step of its own (`node`, `node#2`, ... by visit). When all
are decided, their outputs are merged into the shared state by the reducers, in the definition's order, and checked
against the state's schema. Then the edges that are taken name the nodes of the next superstep. A skipped or failed node
contributes nothing. Without a next node the run completes, and the state is its output.

A subgraph returns its whole state. If it began with the parent's value of a key, only its change of that value counts:
what it appended is appended once.

Each superstep is one decision, `graph.advanced`, with the changes of the state and the steps that run now. It stands in
the log before those steps begin. So after a crash anywhere the fold knows where the graph is.
"""

from __future__ import annotations

from typing import Any

import msgspec

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.expressions import language as expressions
from agentflow_common.expressions import state_schema
from agentflow_common.expressions.state_schema import KEYS_MAX, VALUE_BYTES_MAX, StateError
from agentflow_common.json_values import kind_of
from agentflow_common.runs.state import (
    MARKER,
    RunState,
    StepStatus,
    current_key,
    holds_marker,
    output_of,
    visit_key,
)
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.plan import PlanNode
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.scope import taken
from agentflow_scheduler.runs.steps.verdict import UNDECIDABLE


class EdgeError(InvalidError):
    """The condition of an edge can't be decided. `step` is the one that the edge leads out of."""

    def __init__(self, message: str, step: str) -> None:
        super().__init__(message)
        self.step = step


def begin_superstep(run: Run, out: RunDecisions) -> bool:
    """Begins the next superstep once all active nodes are decided.

    Returns False if the graph has ended, or if it fails (see `out.failure`). Raises NeedBlob.
    """
    state, plan = run.state, run.plan
    out.at = ""
    assert plan.graph is not None  # noqa: S101
    if state.superstep and not state.active:
        return False
    try:
        if state.superstep:
            changed, following, bounded = _after(run, out)
        else:
            changed, following, bounded = _initial(run, out), [plan.graph.entry_point], []
    except InvalidError as error:
        kind = "invalid_state" if isinstance(error, StateError) else UNDECIDABLE
        out.failure = (StepError(kind, error.message, retryable=False), getattr(error, "step", ""))
        return False
    if following and state.superstep >= plan.graph.max_supersteps:
        text = (
            f"the graph did not end within {plan.graph.max_supersteps} supersteps; the next would run "
            f"{', '.join(following[:12])}: check the conditions of the edges, or raise `max_supersteps`"
        )
        out.failure = (StepError("max_supersteps", text, retryable=False), "")
        return False
    keys = tuple(_next_key(state, name) for name in following)
    out.emit(
        ev.GraphAdvanced,
        superstep=state.superstep + bool(keys),
        steps=keys,
        state={name: Payload(value=value) for name, value in changed.items()},
        taken=tuple(bounded),
    )
    run.in_superstep = frozenset(keys)
    run.undecided_count = len(keys)
    run.dirty.update(dict.fromkeys(keys))
    return bool(keys)


def _next_key(state: RunState, node: str) -> str:
    was_there = node in state.steps or node in state.visits
    return visit_key(node, state.visits.get(node, 1) + 1) if was_there else node


# --- the state ---


def _initial(run: Run, out: RunDecisions) -> dict[str, Any]:
    """Returns the values at the start: those of `initial`, replaced by the inputs that are given."""
    assert run.plan.graph is not None  # noqa: S101
    inputs = out.scope.inputs() or {}
    values = dict(run.plan.graph.state.initial)
    values.update((name, value) for name, value in inputs.items() if value is not None or name not in values)
    _check(run, out, values)
    return values


def _check(run: Run, out: RunDecisions, changed: dict[str, Any]) -> None:
    """Raises StateError for values that the state can't take."""
    names = {**dict.fromkeys(run.state.shared), **changed}
    if len(names) > KEYS_MAX:
        raise StateError(f"the state has {len(names):,} keys, the limit is {KEYS_MAX:,}")
    for name, value in changed.items():
        try:
            size = len(msgspec.json.encode(value))
        except (OverflowError, ValueError) as error:
            raise StateError(f"state.{name} can't be stored: {error}", (name,)) from None
        if size > VALUE_BYTES_MAX:
            text = f"state.{name} has {size:,} bytes, the limit is {VALUE_BYTES_MAX:,}: keep less in it"
            raise StateError(text, (name,))
        if holds_marker(value):
            raise StateError(f"state.{name} holds the reserved key `{MARKER}`", (name,))
    schema = run.plan.schema
    if schema is not None:
        schema.check(names if schema.by_key else {**out.scope.shared(), **changed}, changed)


def _after(run: Run, out: RunDecisions) -> tuple[dict[str, Any], list[str], list[str]]:
    """Returns what the superstep changed, the nodes that run next, and the bounded edges that led there."""
    changed: dict[str, Any] = {}
    writers: dict[str, str] = {}
    active = [node for node in run.plan.nodes.values() if current_key(run.state, node.id) in run.in_superstep]
    for node in active:
        _merge(run, out, node, changed, writers)
    out.at = ""
    try:
        _check(run, out, changed)
    except StateError as error:
        raise _blame(error, writers) from None
    following, bounded = _route(run, out, active, changed)
    return changed, following, bounded


def _merge(run: Run, out: RunDecisions, node: PlanNode, changed: dict[str, Any], writers: dict[str, str]) -> None:
    assert run.plan.graph is not None  # noqa: S101
    key = out.at = current_key(run.state, node.id)
    shared = run.state.shared
    if run.state.steps[key].status is not StepStatus.COMPLETED:
        return
    output = out.scope.look(output_of(run.state, key))
    if run.state.steps[key].width >= 0:  # a list of parts, and some may be stored out of line
        output = out.scope.inside(output)
    reducers = run.plan.graph.state.reducers
    lent = _lent(run.state, node)
    try:
        for name, value in _given(node, output).items():
            reducer = reducers.get(name, "replace")
            present = name in changed or name in shared
            began = out.scope.look(shared[name]) if name in lent and name in shared else None
            before = changed.get(name)
            if name not in changed and present and (reducer != "replace" or began is not None):
                before = out.scope.look(shared[name])  # a plain replacement needs no look
            if began is not None:
                reduced = state_schema.reduce_change(reducer, name, before, began, value)
            else:
                reduced = state_schema.reduce(reducer, name, before, value, present)
            if not present or reduced is not before or (reducer == "replace" and began is None):
                changed[name] = reduced
                writers[name] = key
    except InvalidError as error:
        raise StateError(f"{key}: {error.message}", step=key) from None


def _lent(state: RunState, node: PlanNode) -> frozenset[str]:
    """Returns the keys of the state that a subgraph began with, and whose values it returns by what the node writes."""
    work = node.work
    raw = None if work is None or work.kind != "subworkflow" else state.definitions.get(work.workflow_ref)
    if work is None or not raw or raw.get("graph") is None or isinstance(node.writes, str):
        return frozenset()
    known = raw.get("inputs") or None  # without declared inputs it takes every key
    sources = {key: key for key in state.shared} if node.writes is None else _written(node.writes)
    return frozenset(
        key
        for key, field in sources.items()
        if (known is None or field in known)
        and (work.keys.get(field) == key if field in work.inputs else work.state_args and field == key)
    )


def _written(writes: dict[str, str]) -> dict[str, str]:
    """Returns by key of the state the field of the output that is written there unchanged."""
    references = {key: expressions.parse_reference(f"node.{part}") for key, part in writes.items()}
    return {key: str(at[2][0]) for key, at in references.items() if at is not None and len(at[2]) == 1}


def _given(node: PlanNode, output: Any) -> dict[str, Any]:
    """Returns the values that a node writes to the state. Raises InvalidError."""
    writes = node.writes
    if isinstance(writes, str):
        return {writes: output}
    if writes is not None:
        return {name: _part(output, part) for name, part in writes.items()}
    if output is None or node.kind == "wait":  # the output of a `wait` does not belong in the state
        return {}
    if not isinstance(output, dict):
        raise StateError(
            f"its output is {kind_of(output)}, and a node of a graph gives an object with keys of the "
            "state: return one, or say with `writes: <key>` where the output goes"
        )
    return output


def _part(output: Any, path: str) -> Any:
    reference = expressions.parse_reference(f"node.{path}")
    assert reference is not None  # noqa: S101  (checked with the definition)
    return expressions.walk(output, reference[2], path)


def _blame(error: StateError, writers: dict[str, str]) -> StateError:
    """Returns the error with the steps that gave the values at fault."""
    keys = [writers[name] for name in error.keys if name in writers] or list(dict.fromkeys(writers.values()))
    return StateError(f"{', '.join(keys)}: {error.message}", error.keys, step=keys[0] if len(keys) == 1 else "")


# --- the edges ---


def _route(run: Run, out: RunDecisions, active: list[PlanNode], changed: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Returns the next nodes in the definition's order, and the bounded edges that are taken. Raises InvalidError."""
    targets: set[str] = set()
    bounded: list[str] = []
    scope = out.scope.within({})
    scope.over = changed
    for node in active:
        for edge in run.plan.outgoing.get(node.id, ()):
            name = f"{edge.source}->{edge.target}"
            if edge.max_iterations is not None and run.state.taken.get(name, 0) >= edge.max_iterations:
                continue
            try:
                is_taken = taken(scope, edge.source, edge.condition)
            except InvalidError as error:
                text = f"the edge {edge.source} -> {edge.target}: {error.message}"
                raise EdgeError(text, current_key(run.state, edge.source)) from None
            if is_taken:
                targets.add(edge.target)
                if edge.max_iterations is not None:
                    bounded.append(name)
    return [name for name in run.plan.nodes if name in targets], bounded
