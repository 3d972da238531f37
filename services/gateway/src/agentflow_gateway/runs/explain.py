"""Explains what a run waits for: looks up the lanes, pools, pauses and schedulers that its steps wait for."""

from __future__ import annotations

from agentflow_common.definition.model import Definition, load_trusted
from agentflow_common.lanes.fold import LaneState
from agentflow_common.runs import explain as explaining
from agentflow_common.runs.explain import Explanation
from agentflow_common.runs.state import RunState, StepStatus, node_of
from agentflow_common.runs.waiting import Surroundings
from agentflow_gateway.api.call import Call
from agentflow_gateway.operations import controls_bucket, lanes
from agentflow_gateway.runs import view as run_view

_LANES_MAX = 50  # of one run that are looked up


async def explain(call: Call, run_id: str) -> tuple[RunState, Explanation]:
    state = await run_view.state_of(call, run_id)
    definition = load_trusted(state.definition)
    around = Surroundings(call.now_ms()) if state.status.terminal else await _surroundings(call, state, definition)
    return state, explaining.explain(state, definition, around)


async def _surroundings(call: Call, state: RunState, definition: Definition) -> Surroundings:
    pause = await controls_bucket.workflow_pause(call, state.workflow)
    keyed: dict[str, LaneState] = {}
    for name in _queued_in(state):
        slots = await lanes.read_slots(call.deps, name)
        if slots is not None:
            keyed[name] = slots
    settings = {name: await lanes.effective(call.deps, name) for name, slots in keyed.items() if slots.paused}
    return Surroundings(
        now_ms=call.now_ms(),
        workflow_paused=None if pause is None else pause.reason,
        workflow_paused_until=0 if pause is None else pause.paused_until,
        lanes=keyed,
        pauses={
            name: (set_as or name, setting.reason, setting.paused_until) for name, (set_as, setting) in settings.items()
        },
        pools={name: await lanes.pool(call.deps, name) for name in _offered_to(state, definition)},
        schedulers=call.deps.load.schedulers,
        visible_org=call.org,
    )


def _queued_in(state: RunState) -> list[str]:
    queued = [step.lane for step in state.steps.values() if step.status is StepStatus.QUEUED and step.lane]
    own = [state.run_lane] if state.run_lane and not state.slot_granted else []
    if state.locks is not None and state.locks.awaited:
        own.append(state.locks.awaited)
    return list(dict.fromkeys([*own, *queued]))[:_LANES_MAX]


def _offered_to(state: RunState, definition: Definition) -> list[str]:
    offered = {node_of(key) for key, step in state.steps.items() if step.status is StepStatus.SCHEDULED}
    pools = (node.worker_pool for node in definition.dag.nodes if node.id in offered)
    return list(dict.fromkeys(pools))[:_LANES_MAX]
