"""Bugs to plant in what a run means: maps, people, subworkflows, sagas, lanes, schedules. See mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentflow_common import events as ev
from agentflow_common.lanes.fold import LaneState
from agentflow_common.runs.fold_decisions import DECISIONS
from agentflow_common.runs.fold_facts import FACTS
from agentflow_common.runs.state import Answer, RunState, StepStatus
from agentflow_common.schedules import fold as schedule_fold
from agentflow_scheduler.engine import append, pools
from agentflow_scheduler.runs import attempt_bounds, attempts, ending, expansion, machine, waits
from agentflow_scheduler.runs import decisions as run_decisions
from agentflow_scheduler.shards import recovery

Change = tuple[Any, Any, Any]


def slot_kept_on_cancel() -> list[Change]:
    """A step that is cancelled does not give its slot back."""
    real = attempts.release

    def release(its_run: Any, out: Any, key: str, step: Any) -> None:
        if step.status is not StepStatus.CANCELLED:
            real(its_run, out, key, step)

    return [(attempts, "release", release)]


def lane_limit_ignored() -> list[Change]:
    """A keyed lane grants whatever is asked."""
    return [(LaneState, "limit", property(lambda _self: 9))]


def sent_afterwards() -> list[Change]:
    """What a decision says to others follows it in an append of its own."""
    return [(append.Turn, "loose", property(lambda self: len(self.sent) <= append.CHAIN_MAX))]


def compensated_forward() -> list[Change]:
    """Compensations run in the order of the steps."""
    real = ending._effective
    return [(ending, "_effective", lambda state: tuple(reversed(real(state))))]


def compensated_again() -> list[Change]:
    """After a crash a compensation that was done is done again."""
    real = ending._look_at_undo

    def look(its_run: Any, out: Any, name: str, step: Any) -> None:
        known = name in its_run.next_children
        its_run.next_children[name] = []
        node = its_run.node(name)
        if not known and step.status is StepStatus.COMPLETED and step.attempt == 1:
            attempts.schedule(its_run, out, node, name, 2)
        real(its_run, out, name, step)

    return [(ending, "_look_at_undo", look)]


def undone_before_children() -> list[Change]:
    """A run does not wait until its subworkflows have undone their steps."""
    return [(ending, "undoing_steps", lambda _state: ()), (ending, "waits_for_children", lambda *_: False)]


def ended_before_children() -> list[Change]:
    """A run that has nothing of its own to undo does not wait for its subworkflows."""
    real = ending.undoing_steps
    return [(ending, "undoing_steps", lambda state: real(state) if ending._effective(state) else ())]


def late_effects_forgotten() -> list[Change]:
    """A subworkflow that completed before its cancel came is not undone."""
    real = ending._may_have_effect

    def may_have(step: Any) -> bool:
        return real(step) and (step.late is None or step.status is StepStatus.COMPLETED)

    return [(ending, "_may_have_effect", may_have)]


def goes_on_beside_others() -> list[Change]:
    """`continue_as_new` closes what runs beside it."""
    return [(waits, "has_others", lambda *_: False)]


def concurrency_ignored() -> list[Change]:
    """A map offers all its items at once."""
    real = expansion._room

    def room(its_run: Any, node: Any, key: str, width: int) -> int:
        real(its_run, node, key, width)
        return len(its_run.next_children[key])

    return [(expansion, "_room", room)]


def too_many_failures() -> list[Change]:
    """A map tolerates any number of failed items."""
    return [(expansion, "_gave_up", lambda *_: False)]


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
    return [(ending, "tell_parent", lambda *_: None)]


def parent_told_twice() -> list[Change]:
    """A subworkflow says twice that it has ended."""
    real = ending.tell_parent

    def tell(*args: Any) -> None:
        real(*args)
        real(*args)

    return [(ending, "tell_parent", tell)]


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
    real = expansion.leave_or_repeat

    def leave(its_run: Any, out: Any, node: Any) -> None:
        node.back = [loop._replace(max_iterations=12) for loop in node.back]
        real(its_run, out, node)

    return [(expansion, "leave_or_repeat", leave)]


def paused_goes_on() -> list[Change]:
    """A paused run offers steps."""
    return [(machine, "_paused", lambda *_: False)]


def slot_kept_in_pause() -> list[Change]:
    """A paused run keeps the slots that it is granted."""
    return [(attempts, "give_back", lambda *_: None)]


def no_grace() -> list[Change]:
    """A cancel with a grace period closes what runs at once."""
    return [(ending, "_wait_for_active", lambda *_: False)]


def total_time_retried() -> list[Change]:
    """A step whose total time is over is tried again."""
    real = attempt_bounds.time_out

    def time_out(its_run: Any, out: Any, node: Any, key: str, step: Any) -> None:
        if not step.expired or not step.attempt or step.attempt >= node.retry.max_attempts:
            real(its_run, out, node, key, step)
            return
        out.emit(ev.StepTimedOut, step=key, attempt=step.attempt, timeout_ms=0, bound="total")
        attempts.release(its_run, out, key, step)
        attempts.schedule(its_run, out, node, key, step.attempt + 1)

    return [(attempt_bounds, "time_out", time_out)]


def timers_left_out() -> list[Change]:
    """A timer that a crash kept from being set is never set."""
    return [(attempts, "set_missing_timers", lambda *_: None)]


def tried_again_unasked() -> list[Change]:
    """A step of which nobody knows whether it took effect is tried again without asking."""
    real = attempts.failed

    def failed(its_run: Any, out: Any, node: Any, key: str, step: Any) -> None:
        asks = step.status is StepStatus.OUTCOME_UNKNOWN and node.policy.on_unknown == "ask"
        if asks and step.attempt < node.retry.max_attempts:
            attempts.schedule(its_run, out, node, key, step.attempt + 1)
        else:
            real(its_run, out, node, key, step)

    return [(attempts, "failed", failed)]


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


ALL: tuple[Callable[[], list[Change]], ...] = (
    slot_kept_on_cancel, lane_limit_ignored, sent_afterwards, compensated_forward, compensated_again,
    concurrency_ignored, too_many_failures, signal_taken_twice, one_person_counts_twice, parent_never_told,
    parent_told_twice, late_costs_lost, children_go_on, back_edge_without_bound, paused_goes_on, no_grace,
    total_time_retried, timers_left_out, tried_again_unasked,
    window_leaks, fired_again, slot_kept_in_pause, successors_go_on,
    undone_before_children, ended_before_children, late_effects_forgotten, goes_on_beside_others,
)  # fmt: skip
