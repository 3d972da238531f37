"""The fold of a run's events: it computes the state of a run from its log alone.

`evolve(state, event, seq)` records facts and decisions; it decides nothing, reads no clock and needs no definition. The
scheduler, the gateway's answers and every replay use this one fold, so they agree bit for bit. Facts and decisions are
folded in the order in which the scheduler lived them (log/fold.py).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.log.fold import LogFold
from agentflow_common.runs.fold_decisions import DECISIONS
from agentflow_common.runs.fold_facts import FACTS
from agentflow_common.runs.state import RunState, StepState
from agentflow_common.runs.stops import Stops


def evolve(state: RunState, event: ev.Event, seq: int) -> None:
    """Folds one event into the state, in place. A sequence that was folded before changes nothing."""
    if isinstance(event, ev.Decision):
        if 0 < seq <= state.out_seq:
            return
        if seq:
            state.out_seq = seq
        handler = DECISIONS.get(type(event))
        if handler is not None:
            handler(state, event)
    else:
        handler = FACTS.get(type(event))
        if handler is None or 0 < seq <= state.facts_seq:
            return
        if seq:
            state.facts_seq = seq
        handler(state, event)


def new_state(event: ev.RunSubmitted, seq: int) -> RunState:
    """Returns the state that `run.submitted` begins. Raises InvalidError for names that can't be part of a subject."""
    for name in (event.org, event.run, *([] if event.parent is None else [event.parent.run])):
        ids.check_token(name, "a run's place")
    position = event.position or ev.SeedPosition()
    return RunState(
        org=event.org,
        run=event.run,
        workflow=event.workflow,
        version=event.version,
        definition=event.definition,
        inputs=event.inputs,
        prompts=event.prompts,
        budget_nano=event.budget_nano,
        deadline_ms=event.deadline_ms,
        tags=event.tags,
        trace=event.trace,
        digest=event.digest,
        submitted_at=event.ts,
        redactions=dict(event.redactions),
        steps=msgspec.convert(event.seed.value or {}, dict[str, StepState]),
        timers={},
        facts_seq=seq,
        priority=event.priority,
        parent=event.parent,
        origin=event.origin,
        definitions=event.definitions,
        depth=event.depth,
        visits=dict(position.visits),
        taken=dict(position.taken),
        superstep=position.superstep,
        active=position.active,
        shared=dict(position.shared),
        sent=dict(position.sent),
        arrived=dict(position.arrived),
        signals={name: list(kept) for name, kept in event.signals.items()},
        run_lane=event.slot,
        slot_granted=bool(event.slot),
        given_lane=event.given_lane,
        slots=event.slots,
        lanes_above=event.lanes_above,
        stops=Stops(event.break_at, event.break_every) if event.break_at or event.break_every else None,
    )


class RunFold(LogFold[RunState | None]):
    """Feeds a run's log in sequence order; `state` is None until `run.submitted` has come."""

    def __init__(self, state: RunState | None = None) -> None:
        super().__init__(state, FACTS, evolve, _begin)


def _begin(event: ev.Event, seq: int) -> RunState | None:
    return new_state(event, seq) if isinstance(event, ev.RunSubmitted) else None


def readable(subject: str, data: bytes) -> ev.Event | None:
    """Returns the event in a message of a run's log, or None for a message that the fold must skip.

    The fold skips a message that can't be read, a fact among the decisions, and a decision among the facts. The
    scheduler has not written such a decision, and it would count as the fence.
    """
    event = ev.try_decode(data)
    return event if isinstance(event, ev.Decision) == subjects.is_decision(subject) else None


def fold(log: Iterable[tuple[int, ev.Event]]) -> RunState | None:
    """Returns the state of a run from its events, given as (sequence, event) in order; None without `run.submitted`."""
    run = RunFold()
    for seq, event in log:
        run.add(event, seq)
    return run.finish()
