"""Real logs of released versions: today's code folds each to the same state and takes the same decisions."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common.runfold import fold, new_state
from agentflow_scheduler.machine import decide
from agentflow_scheduler.plan import Plan
from agentflow_scheduler.run import Run

HISTORIES = sorted(Path(__file__).with_name("histories").glob("*.jsonl"))


def load(file: Path) -> tuple[dict[str, Any], list[tuple[int, ev.AnyEvent]]]:
    head, *lines = file.read_bytes().splitlines()
    parsed = [msgspec.json.decode(line) for line in lines]
    return msgspec.json.decode(head), [(p["seq"], ev.decode(msgspec.json.encode(p["event"]))) for p in parsed]


def test_there_are_histories() -> None:
    assert len({file.name.split(".")[0] for file in HISTORIES}) >= 5


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
def test_a_history_folds_to_the_state_that_it_had(file: Path) -> None:
    head, log = load(file)
    state = fold(log)
    assert state is not None
    assert (state.workflow, str(state.status)) == (head["workflow"], head["status"])
    assert state.hash() == head["hash"]


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
def test_a_history_is_decided_as_it_was(file: Path) -> None:
    """Turn by turn: the facts that each decision had seen, at the time that it was taken, give that decision again."""
    _, log = load(file)
    facts = [(seq, event) for seq, event in log if not isinstance(event, ev.Decision)]
    recorded = [(seq, event) for seq, event in log if isinstance(event, ev.Decision)]
    chained = any(isinstance(event, ev.StepScheduled) and event.then for _, event in recorded)
    first_seq, first = facts.pop(0)
    assert isinstance(first, ev.RunSubmitted)
    state = new_state(first, first_seq)
    run = Run(state, Plan(state.definition))
    for (seen, now_ms), turn in groupby(recorded, key=lambda item: (item[1].seen, item[1].ts)):
        while facts and facts[0][0] <= seen:
            seq, fact = facts.pop(0)
            run.apply(fact, seq)
        expected = list(turn)
        taken = decide(run, now_ms, {}).decisions
        if not chained:
            taken = [_without_then(decision) for decision in taken]
        assert [_as_recorded(d, then) for d, (_, then) in zip(taken, expected, strict=True)] == [
            ev.encode(then) for _, then in expected
        ]
        state.out_seq = expected[-1][0]


def _without_then(decision: ev.Decision) -> ev.Decision:
    """As it was before tasks named the steps that follow (ADR 0009): no state depends on what they name."""
    return msgspec.structs.replace(decision, then=()) if isinstance(decision, ev.StepScheduled) else decision


def _as_recorded(taken: Any, recorded: Any) -> bytes:
    """A decision as bytes. The text of its error may say more than it did."""
    error, known = getattr(taken, "error", None), getattr(recorded, "error", None)
    if error is not None and known is not None and error.message.endswith(known.message):
        error = msgspec.structs.replace(error, message=known.message)
        taken = msgspec.structs.replace(taken, error=error)
    return ev.encode(taken)
