"""Changes of the shared state of a graph by the steps of a superstep. Pure.

Their outputs are merged by the reducers, in the definition's order, and checked against the state's schema. An output
`{"$replace": value}` of a key takes the place of its value, whatever its reducer is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from agentflow_common.errors import InvalidError
from agentflow_common.expressions import language as expressions
from agentflow_common.expressions import state_schema
from agentflow_common.expressions.state_schema import KEYS_MAX, VALUE_BYTES_MAX, StateError
from agentflow_common.json_values import kind_of
from agentflow_common.runs.state import MARKER, RunState, StepStatus, holds_marker, node_of, output_of
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.plan import PlanNode
from agentflow_scheduler.runs.run import Run


def initial(run: Run, out: RunDecisions) -> dict[str, Any]:
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


def after(run: Run, out: RunDecisions) -> dict[str, Any]:
    """Returns the values that the superstep changed. Raises StateError, NeedBlob."""
    changed: dict[str, Any] = {}
    writers: dict[str, str] = {}
    for key in run.state.active:
        _merge(run, out, key, changed, writers)
    out.at = ""
    try:
        _check(run, out, changed)
    except StateError as error:
        raise _blame(error, writers) from None
    return changed


def _merge(run: Run, out: RunDecisions, key: str, changed: dict[str, Any], writers: dict[str, str]) -> None:
    assert run.plan.graph is not None  # noqa: S101
    out.at = key
    node, shared = run.plan.nodes[node_of(key)], run.state.shared
    if run.state.steps[key].status is not StepStatus.COMPLETED:
        return
    output = out.scope.look(output_of(run.state, key))
    if run.state.steps[key].width >= 0:  # a list of parts, and some may be stored out of line
        output = out.scope.inside(output)
    reducers = run.plan.graph.state.reducers
    lent = _lent(run.state, node, out.sent(key))
    try:
        for name, value in _given(node, output).items():
            reducer = reducers.get(name, "replace")
            if state_schema.is_replacement(value):
                reducer, value = "replace", value[state_schema.REPLACE]  # noqa: PLW2901
            present = name in changed or name in shared
            began = out.scope.look(shared[name]) if name in lent and name in shared else None
            before = changed.get(name)
            if name not in changed and present and (reducer != "replace" or began is not None):
                before = out.scope.look(shared[name])  # a plain replacement needs no look
            if began is not None:
                reduced = state_schema.reduce_change(reducer, name, before, began, value, lent[name])
            else:
                reduced = state_schema.reduce(reducer, name, before, value, present)
            if not present or reduced is not before or (reducer == "replace" and began is None):
                changed[name] = reduced
                writers[name] = key
    except InvalidError as error:
        raise StateError(f"{key}: {error.message}", step=key) from None


def _lent(state: RunState, node: PlanNode, sent: Mapping[str, Any]) -> dict[str, str]:
    """Returns the keys of the state that a subgraph began with, and whose values it returns by what the node writes.

    By key: the reducer that the subgraph has for it.
    """
    work = node.work
    raw = None if work is None or work.kind != "subworkflow" else state.definitions.get(work.workflow_ref)
    graph = None if raw is None else raw.get("graph")
    if work is None or work.detached or raw is None or graph is None or isinstance(node.writes, str):
        return {}
    known = raw.get("inputs") or None  # without declared inputs it takes every key
    reducers = graph.get("state", {}).get("reducers", {})
    sources = {key: key for key in state.shared} if node.writes is None else _written(node.writes)
    return {
        key: reducers.get(field, "replace")
        for key, field in sources.items()
        if (known is None or field in known) and field not in sent
        and (work.keys.get(field) == key if field in work.inputs else work.state_args and not sent and field == key)
    }  # fmt: skip


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
    detached = node.work is not None and node.work.detached
    if output is None or detached or node.kind == "wait":  # these outputs do not belong in the state
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
