"""Bugs to plant in what a run means: maps, people, subworkflows, sagas, lanes, schedules. See mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentflow_common import events as ev
from agentflow_common.lanes.fold import LaneState
from agentflow_common.runs.fold_decisions import DECISIONS
from agentflow_common.runs.fold_facts import FACTS
from agentflow_common.runs.state import Answer, RunState, StepStatus, node_of
from agentflow_common.schedules import fold as schedule_fold
from agentflow_scheduler.engine import append, pools
from agentflow_scheduler.runs import back_edges, continuation, ending, machine, saga
from agentflow_scheduler.runs import decisions as run_decisions
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.steps import (
    advance,
    attempts,
    expansion,
    finally_nodes,
    joins,
    lane_slots,
    subworkflows,
    waits,
)
from agentflow_scheduler.shards import recovery

Change = tuple[Any, Any, Any]


def slot_kept_on_cancel() -> list[Change]:
    """A step that is cancelled does not give its slot back."""
    real = lane_slots.release

    def release(at: Any) -> None:
        if at.step.status is not StepStatus.CANCELLED:
            real(at)

    return [(lane_slots, "release", release)]


def lane_limit_ignored() -> list[Change]:
    """A keyed lane grants whatever is asked."""
    return [(LaneState, "limit", property(lambda _self: 9))]


def sent_afterwards() -> list[Change]:
    """What a decision says to others follows it in an append of its own."""
    return [(append.Turn, "loose", property(lambda self: len(self.sent) <= append.CHAIN_MAX))]


def compensated_forward() -> list[Change]:
    """Compensations run in the order of the steps."""
    real = ending.effective_steps
    return [(ending, "effective_steps", lambda state: tuple(reversed(real(state))))]


def compensated_again() -> list[Change]:
    """After a crash a compensation that was done is done again."""
    real = saga._advance_undo

    def advance_undo(at: Any) -> None:
        known = at.key in at.run.next_children
        at.run.next_children[at.key] = []
        if not known and at.step.status is StepStatus.COMPLETED and at.step.attempt == 1:
            attempts.begin(at, 2)
        real(at)

    return [(saga, "_advance_undo", advance_undo)]


def undone_before_children() -> list[Change]:
    """A run does not wait until its subworkflows have undone their steps."""
    return [(ending, "undoing_steps", lambda _state: ()), (ending, "waits_for_children", lambda *_: False)]


def ended_before_children() -> list[Change]:
    """A run that has nothing of its own to undo does not wait for its subworkflows."""
    real = ending.undoing_steps
    return [(ending, "undoing_steps", lambda state: real(state) if ending.effective_steps(state) else ())]


def late_effects_forgotten() -> list[Change]:
    """A subworkflow that completed before its cancel came is not undone."""
    real = saga._may_have_effect

    def may_have(step: Any) -> bool:
        return real(step) and (step.late is None or step.status is StepStatus.COMPLETED)

    return [(saga, "_may_have_effect", may_have)]


def goes_on_beside_others() -> list[Change]:
    """`continue_as_new` closes what runs beside it."""
    return [(continuation, "has_others", lambda *_: False)]


def end_forgotten() -> list[Change]:
    """A run that has come to an `end` node, and waits for its subworkflows or crashes, goes on."""
    return [(machine, "ended_by", lambda *_: "")]


def beside_the_end() -> list[Change]:
    """A run that ends early leaves what runs beside it."""
    real = ending.close_all

    def close_all(run: Any, out: Any, *rest: Any) -> None:
        if not out.end:
            real(run, out, *rest)

    return [(ending, "close_all", close_all)]


def losers_go_on() -> list[Change]:
    """What a join started without goes on."""
    return [(joins, "_close_losers", lambda _at: None)]


def ends_without_last_nodes() -> list[Change]:
    """A run that was compensated ends without its nodes with `finally: true`."""
    real = finally_nodes.are_due
    return [(finally_nodes, "are_due", lambda run: real(run) and run.state.ending is None)]


def last_failure_ignored() -> list[Change]:
    """A run completes though one of its nodes at the end has failed."""
    return [(finally_nodes, "_failure", lambda _run: None)]


def detached_is_a_child() -> list[Change]:
    """A detached run has the run that started it as its parent."""
    real = subworkflows.submit

    def submit(run: Any, out: Any, name: str, inputs: Any, **fields: Any) -> None:
        origin = fields.get("origin")
        if origin is not None and origin.kind == "detached":
            fields["parent"] = ev.ParentRef(origin.run, origin.step, 1)
        real(run, out, name, inputs, **fields)

    return [(subworkflows, "submit", submit)]


def concurrency_ignored() -> list[Change]:
    """A map offers all its items at once."""
    real = expansion._room

    def room(at: Any) -> int:
        real(at)
        return len(at.run.next_children[at.key])

    return [(expansion, "_room", room)]


def too_many_failures() -> list[Change]:
    """A map tolerates any number of failed items."""
    return [(expansion, "_has_failed", lambda *_: False)]


def signal_taken_twice() -> list[Change]:
    """A signal that a step took is still there for the next."""
    real = DECISIONS[ev.StepResolved]

    def resolved(state: RunState, event: Any) -> None:
        kept = {name: list(payloads) for name, payloads in state.signals.items()}
        real(state, event)
        state.signals = kept

    return [(DECISIONS, ev.StepResolved, resolved)]


def one_person_counts_twice() -> list[Change]:
    """Who approves twice counts twice."""
    real = FACTS[ev.ApprovalGiven]

    def approval(state: RunState, event: Any) -> None:
        step = state.steps.get(event.step)
        if step is not None and any(answer.by == event.by for answer in step.answers):
            step.answers = [*step.answers, Answer(event.by, event.decision, event.ts)]
        else:
            real(state, event)

    return [(FACTS, ev.ApprovalGiven, approval)]


def parent_never_told() -> list[Change]:
    """A subworkflow ends in silence."""
    return [(subworkflows, "notify_parent", lambda *_: None)]


def parent_told_twice() -> list[Change]:
    """A subworkflow says twice that it has ended."""
    real = subworkflows.notify_parent

    def notify(*args: Any) -> None:
        real(*args)
        real(*args)

    return [(subworkflows, "notify_parent", notify)]


def late_costs_lost() -> list[Change]:
    """What a subworkflow cost does not count once its step was closed."""
    real = FACTS[ev.ChildEnded]

    def ended(state: RunState, event: Any) -> None:
        step, cost = state.steps.get(event.step), state.cost_nano
        closed = step is None or step.status is not StepStatus.WAITING
        real(state, event)
        if closed:
            state.cost_nano = cost

    return [(FACTS, ev.ChildEnded, ended)]


def children_go_on() -> list[Change]:
    """Nobody tells a subworkflow that its step was closed."""
    real = run_decisions.RunDecisions.send

    def send(self: Any, event_type: Any, /, **fields: Any) -> None:
        if event_type is not ev.RunCancelRequested:
            real(self, event_type, **fields)

    return [(run_decisions.RunDecisions, "send", send)]


def successors_go_on() -> list[Change]:
    """A cancel that comes while a run goes on as a new one is lost."""

    async def pass_on(*_: Any) -> None:
        pass

    return [(recovery, "_pass_on", pass_on)]


def back_edge_without_bound() -> list[Change]:
    """A back edge is taken as long as its condition holds."""
    real = back_edges.leave_or_repeat

    def leave(its_run: Any, out: Any, node: Any) -> None:
        node.back = [loop._replace(max_iterations=12) for loop in node.back]
        real(its_run, out, node)

    return [(back_edges, "leave_or_repeat", leave)]


def paused_goes_on() -> list[Change]:
    """A paused run offers steps."""
    return [(machine, "_pause", machine._advance)]


def slot_kept_in_pause() -> list[Change]:
    """A paused run keeps the slots that it is granted."""
    return [(lane_slots, "give_back", lambda *_: None)]


def no_grace() -> list[Change]:
    """A cancel with a grace period closes what runs at once."""
    return [(ending, "_wait_for_active", lambda *_: False)]


def total_time_retried() -> list[Change]:
    """A step whose total time is over is tried again."""
    real = advance._time_out

    def time_out(at: Any) -> None:
        step = at.step
        if not step.expired or not step.attempt or step.attempt >= at.node.retry.max_attempts:
            real(at)
            return
        at.emit(ev.StepTimedOut, attempt=step.attempt, timeout_ms=0, bound="total")
        lane_slots.release(at)
        attempts.begin(at, step.attempt + 1)

    return [(advance, "_time_out", time_out)]


def timers_left_out() -> list[Change]:
    """A timer that a crash kept from being set is never set."""
    return [(place, "set_missing_timers", lambda *_: None) for place in (advance, attempts, expansion, waits, saga)]


def tried_again_unasked() -> list[Change]:
    """A step of which nobody knows whether it took effect is tried again without asking."""
    real = attempts.handle_failure

    def handle_failure(at: Any) -> None:
        asks = at.step.status is StepStatus.OUTCOME_UNKNOWN and at.node.policy.on_unknown == "ask"
        if asks and at.step.attempt < at.node.retry.max_attempts:
            attempts.begin(at, at.step.attempt + 1)
        else:
            real(at)

    return [(attempts, "handle_failure", handle_failure)]


def window_leaks() -> list[Change]:
    """What a worker has done still takes room in the pool's window."""
    return [(pools.Pools, "on_folded", lambda *_: None)]


def fired_again() -> list[Change]:
    """A schedule that fires out of its buffer forgets up to when it had decided."""
    real = schedule_fold._DECISIONS[ev.ScheduleFired]

    def fired(state: Any, event: Any) -> None:
        before = state.position
        real(state, event)
        if event.number % 4 == 0:
            state.position = min(before, state.position)

    return [(schedule_fold._DECISIONS, ev.ScheduleFired, fired)]


def barrier_stays_open() -> list[Change]:
    """A barrier that has run remembers who had come."""
    real = DECISIONS[ev.GraphAdvanced]

    def advanced(state: RunState, event: Any) -> None:
        before, came = dict(state.arrived), {node_of(key) for key in state.active}
        real(state, event)
        for name in (name for name, now in event.arrived.items() if not now):
            state.arrived[name] = tuple({*before.get(name, ()), *came})

    return [(DECISIONS, ev.GraphAdvanced, advanced)]


def sent_to_the_node() -> list[Change]:
    """Every visit of a node gets what the first one was sent."""
    real = RunDecisions.sent
    return [(RunDecisions, "sent", lambda self, key: real(self, node_of(key)))]


ALL: tuple[Callable[[], list[Change]], ...] = (
    slot_kept_on_cancel, lane_limit_ignored, sent_afterwards, compensated_forward, compensated_again,
    concurrency_ignored, too_many_failures, signal_taken_twice, one_person_counts_twice, parent_never_told,
    parent_told_twice, late_costs_lost, children_go_on, back_edge_without_bound, paused_goes_on, no_grace,
    total_time_retried, timers_left_out, tried_again_unasked,
    window_leaks, fired_again, slot_kept_in_pause, successors_go_on,
    undone_before_children, ended_before_children, late_effects_forgotten, goes_on_beside_others,
    end_forgotten, beside_the_end, losers_go_on, barrier_stays_open, sent_to_the_node,
    ends_without_last_nodes, last_failure_ignored,
    detached_is_a_child,
)  # fmt: skip
