"""Back edges: at the end of a loop of edges its nodes run again, or what comes after it may begin. Pure.

A node that ends a loop is put into `run.loop_exits` when it is final. Nodes outside the loop do not count it as decided
before its back edges were decided here. A repeated node begins its next visit, as a step of its own: `node#2`.
"""

from __future__ import annotations

from agentflow_common import events as ev
from agentflow_common.definition.dependencies import Loop
from agentflow_common.errors import InvalidError
from agentflow_common.events import StepError
from agentflow_common.runs.state import current_key
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.plan import PlanNode
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.scope import taken
from agentflow_scheduler.runs.steps.verdict import UNDECIDABLE


def decide_next(run: Run, out: RunDecisions) -> None:
    """Decides the back edges of one node in `loop_exits`. Raises NeedBlob."""
    name = out.at = next(iter(run.loop_exits))
    try:
        if name in run.faults:
            out.failure = (run.faults[name], name)
        else:
            leave_or_repeat(run, out, run.plan.nodes[name])
    except InvalidError as error:
        out.failure = (StepError(UNDECIDABLE, f"the back edge of {name}: {error.message}", retryable=False), name)
    del run.loop_exits[name]


def leave_or_repeat(run: Run, out: RunDecisions, node: PlanNode) -> None:
    """Takes the innermost back edge that may be taken. The loops of those that are not taken are left."""
    state = run.state
    after: list[str] = []
    for loop in node.back:
        count = state.taken.get(loop.edge, 0)
        if count < loop.max_iterations and taken(out.scope, loop.source, loop.condition):
            inner = tuple(other.edge for other in run.plan.loops if other is not loop and _is_within(other, loop))
            blockers = _blockers_again(run, loop)
            run.undecided_count += sum(current_key(state, name) in run.decided for name in loop.body)
            out.emit(ev.StepsReset, edge=loop.edge, iteration=count + 1, steps=loop.body, inner=inner)
            _reset(run, blockers)
            break
        after.extend(run.plan.exits[loop.edge])
    for target in after:
        run.count_down(target)


def _is_within(inner: Loop, outer: Loop) -> bool:
    return set(inner.body) < set(outer.body)


def _blockers_again(run: Run, loop: Loop) -> dict[str, int]:
    """Returns how many undecided nodes the next visit of each node of the loop waits for.

    These are the nodes before it in the loop, and those outside that are not counted yet. After a crash and in a fork
    every step is counted anew, and one with a breakpoint comes first. So the last node of a loop may be counted before
    a node that the loop has waited for.
    """
    nodes, inside = run.plan.nodes, run.plan.bodies[loop.edge]
    return {
        name: sum(source in inside or not run.is_counted(source, name) for source in run.plan.waits_for(nodes[name]))
        for name in loop.body
    }


def _reset(run: Run, blockers: dict[str, int]) -> None:
    run.blockers_left.update(blockers)
    for name, count in blockers.items():
        if not count:
            run.dirty[current_key(run.state, name)] = None
