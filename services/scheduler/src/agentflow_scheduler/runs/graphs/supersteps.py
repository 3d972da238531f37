"""Graph-style workflows: supersteps over a shared state, as Pregel and LangGraph have them. Pure.

The active nodes of a superstep run in parallel, each as a step of its own (`node`, `node#2`, ... by visit). When all
are decided, their outputs are merged into the shared state (`state_changes`), and the edges that are taken name the
nodes of the next superstep (`routes`). A skipped or failed node contributes nothing. Without a next node the run
completes, and the state is its output.

Each superstep is one decision, `graph.advanced`, with the changes of the state, the steps that run now, and what they
are given. It stands in the log before those steps begin. So after a crash anywhere the fold knows where the graph is.
"""

from __future__ import annotations

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.expressions.state_schema import StateError
from agentflow_common.runs.state import RunState, visit_key
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.graphs import state_changes
from agentflow_scheduler.runs.graphs.routes import Routes, Visit, routes_after
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.steps.verdict import UNDECIDABLE


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
            changed = state_changes.after(run, out)
            routes = routes_after(run, out, changed)
        else:
            changed, routes = state_changes.initial(run, out), Routes([Visit(plan.graph.entry_point)])
    except InvalidError as error:
        kind = "invalid_state" if isinstance(error, StateError) else UNDECIDABLE
        out.failure = (StepError(kind, error.message, retryable=False), getattr(error, "step", ""))
        return False
    if routes.visits and state.superstep >= plan.graph.max_supersteps:
        following = list(dict.fromkeys(visit.node for visit in routes.visits))
        text = (
            f"the graph did not end within {plan.graph.max_supersteps} supersteps; the next would run "
            f"{', '.join(following[:12])}: check the conditions of the edges, or raise `max_supersteps`"
        )
        out.failure = (StepError("max_supersteps", text, retryable=False), "")
        return False
    keys = _keys(state, [visit.node for visit in routes.visits])
    sent = zip(keys, (visit.sent for visit in routes.visits), strict=True)
    out.emit(
        ev.GraphAdvanced,
        superstep=state.superstep + bool(keys),
        steps=keys,
        state={name: Payload(value=value) for name, value in changed.items()},
        taken=tuple(routes.bounded),
        sent={key: Payload(value=values) for key, values in sent if values is not None},
        arrived=routes.arrived,
    )
    run.in_superstep = frozenset(keys)
    run.undecided_count = len(keys)
    run.dirty.update(dict.fromkeys(keys))
    return bool(keys)


def _keys(state: RunState, nodes: list[str]) -> tuple[str, ...]:
    """Returns the key of the next visit of each node. A node that is named several times gets several visits."""
    visits: dict[str, int] = {}
    keys: list[str] = []
    for node in nodes:
        if node not in visits:
            visits[node] = state.visits.get(node, 1) if node in state.steps or node in state.visits else 0
        visits[node] += 1
        keys.append(visit_key(node, visits[node]))
    return tuple(keys)
