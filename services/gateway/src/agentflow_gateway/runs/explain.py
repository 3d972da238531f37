"""What surrounds a run, for why.py: lanes, pools, pauses, schedulers; only what its steps wait for is asked."""

from __future__ import annotations

from agentflow_common.definition.model import Definition, load_trusted
from agentflow_common.lanes.fold import LaneState
from agentflow_common.runs import explain as explaining
from agentflow_common.runs.explain import Explanation, Surroundings
from agentflow_common.runs.state import RunState, StepStatus, node_of
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.operations import controls_bucket, lanes
from agentflow_gateway.runs import controls

_LANES_MAX = 50  # of one run that are looked up


async def explain(deps: Deps, call: Call, run_id: str) -> tuple[RunState, Explanation]:
    state = await controls.loaded(deps, call, run_id)
    definition = load_trusted(state.definition)
    if state.status.terminal:
        return state, explaining.explain(state, definition, Surroundings(deps.clock.now_ms()))
    pause = await controls_bucket.workflow_pause(deps, call.org, state.workflow)
    keyed: dict[str, LaneState] = {}
    for name in _queued_in(state):
        ledger = await lanes.ledger(deps, name)
        if ledger is not None:
            keyed[name] = ledger
    paused = [name for name, ledger in keyed.items() if ledger.paused]
    held_by = {name: await lanes.effective(deps, name) for name in paused}
    around = Surroundings(
        now_ms=deps.clock.now_ms(),
        workflow_paused=None if pause is None else pause.reason,
        lanes=keyed,
        pauses={name: (set_as or name, setting.reason) for name, (set_as, setting) in held_by.items()},
        pools={name: await lanes.pool(deps, name) for name in _offered_to(state, definition)},
        schedulers=deps.load.schedulers,
        visible_org=call.org,
    )
    return state, explaining.explain(state, definition, around)


def _queued_in(state: RunState) -> list[str]:
    queued = (step.lane for step in state.steps.values() if step.status is StepStatus.QUEUED and step.lane)
    names = dict.fromkeys(queued)
    return list(names)[:_LANES_MAX]


def _offered_to(state: RunState, definition: Definition) -> list[str]:
    offered = {node_of(key) for key, step in state.steps.items() if step.status is StepStatus.SCHEDULED}
    pools = (node.pool if "{{" in node.lane else node.lane for node in definition.dag.nodes if node.id in offered)
    return list(dict.fromkeys(pools))[:_LANES_MAX]
