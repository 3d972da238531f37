"""Real logs of released versions: today's code folds each to the same state and takes the same decisions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.runs.state import RunState
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.entities import Entity, begin, decide_entity, folding, host
from agentflow_scheduler.replay.state_hash import state_hash
from agentflow_scheduler.runs.decisions import unbounded
from agentflow_scheduler.runs.invariants import check_invariants
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run

HISTORIES = sorted(Path(__file__).with_name("histories").glob("*.jsonl"))
CHECKPOINTS = (ev.LaneCheckpointed, ev.ScheduleCheckpointed)
Log = Sequence[tuple[int, ev.Event]]


def load(file: Path) -> tuple[dict[str, Any], EntityKey, Log]:
    head, *lines = file.read_bytes().splitlines()
    parsed = [msgspec.json.decode(line) for line in lines]
    log = [(p["seq"], ev.decode(msgspec.json.encode(p["event"]))) for p in parsed]
    return msgspec.json.decode(head), subjects.key_of(log[0][1].org, log[0][1].run), log


def fold(key: EntityKey, log: Log) -> Any:
    folded = folding(key)
    for seq, event in log:
        folded.add(event, seq)
    assert not folded.poison
    return folded.finish()


def test_there_are_histories() -> None:
    """Of every kind of entity, and of what can go wrong in them."""
    kinds = {file.name.split(".")[0] for file in HISTORIES}
    assert len(kinds) >= 20
    assert {"lane", "schedule"} <= kinds
    events = [event for file in HISTORIES for _, event in load(file)[2]]
    assert any(isinstance(event, ev.StepCompleted) and event.begun for event in events)
    assert any(isinstance(event, ev.StepCompleted) and event.before for event in events)
    held = {type(event) for event in events}
    assert held >= {
        ev.LaneConfigured, ev.LaneGranted, ev.ScheduleBackfilled, ev.ScheduleBuffered, ev.ScheduleCancelling,
        ev.ScheduleFired, ev.ScheduleSkipped, ev.SchedulePaused, ev.ApprovalEscalated, ev.GraphAdvanced,
        ev.OutcomeResolved, ev.RunCancelling, ev.RunCompensating, ev.RunPaused, ev.StepIterated, ev.StepsReset,
        ev.StepOutcomeUnknown, ev.StepProgressed, ev.StepTimedOut, ev.StepUndecidable,
    }  # fmt: skip


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
def test_a_history_folds_to_the_state_that_it_had(file: Path) -> None:
    head, key, log = load(file)
    state = fold(key, log)
    assert state is not None
    if isinstance(state, RunState):
        assert (state.workflow, str(state.status)) == (head["workflow"], head["status"])
    assert state_hash(state) == head["hash"]


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
def test_a_history_is_decided_as_it_was(file: Path) -> None:
    """Turn by turn: the facts that each decision had seen, at the time that it was taken, give that decision again."""
    _, key, log = load(file)
    chained = any(isinstance(event, ev.StepScheduled) and event.then for _, event in log)
    entity, log = _begun(key, log)
    facts = [(seq, event) for seq, event in log if not isinstance(event, ev.Decision)]
    recorded = [(seq, event) for seq, event in log if isinstance(event, ev.Decision)]
    for (seen, now_ms), turn in groupby(recorded, key=lambda item: (item[1].seen, item[1].ts)):
        while facts and facts[0][0] <= seen:
            seq, fact = facts.pop(0)
            entity.apply(fact, seq)
        expected = list(turn)
        taken = decide_entity(key, entity, now_ms, {}, unbounded).decisions
        if isinstance(entity, Run):
            check_invariants(entity)
        if not chained:
            taken = [_without_then(decision) for decision in taken]
        assert [_as_recorded(d, then) for d, (_, then) in zip(taken, expected, strict=True)] == [
            _sorted(then) for _, then in expected
        ]
        entity.state.out_seq = expected[-1][0]


def _begun(key: EntityKey, log: Log) -> tuple[Entity, Log]:
    """The entity as its log begins, and what follows; of one whose log was trimmed, from its newest checkpoint on."""
    (first_seq, first), *rest = log
    state = None if isinstance(first, ev.Decision) else begin(key, first, first_seq)
    if state is None:
        at, seen = max((seq, event.seen) for seq, event in log if isinstance(event, CHECKPOINTS))
        known = [(seq, e) for seq, e in log if seq <= (at if isinstance(e, ev.Decision) else seen)]
        state, rest = fold(key, known), [item for item in log if item not in known]
    return host(key, state, Plans(32)), rest


def _without_then(decision: ev.Decision) -> ev.Decision:
    """As it was before tasks named the steps that follow (ADR 0009): no state depends on what they name."""
    return msgspec.structs.replace(decision, then=()) if isinstance(decision, ev.StepScheduled) else decision


def _as_recorded(taken: Any, recorded: Any) -> bytes:
    """A decision as bytes. The text of its error may say more than it did."""
    error, known = getattr(taken, "error", None), getattr(recorded, "error", None)
    if error is not None and known is not None and error.message.endswith(known.message):
        error = msgspec.structs.replace(error, message=known.message)
        taken = msgspec.structs.replace(taken, error=error)
    return _sorted(taken)


def _sorted(event: ev.Event) -> bytes:
    return msgspec.json.encode(event, order="sorted")
