"""The derived tables are a fold of the log: whatever the batches are, and wherever the service is killed."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_trace import machine
from agentflow_trace.derive.fold import Folder, fold
from agentflow_trace.derive.tables import CallRow, CostRow, Derived, RunRow, StepRow
from agentflow_trace.rows import Row

from .trace_events import EVENTS, IDS, rows_of


class Sink:
    """The tables as ClickHouse has them: the newest row of a key counts, and one that is gone does not."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str], RunRow] = {}
        self.steps: dict[tuple[str, str, int], StepRow] = {}
        self.calls: list[CallRow] = []
        self.costs: list[CostRow] = []

    def write(self, derived: Derived, tables: int = 4) -> None:
        """tables: how many of them get their rows before the service is killed."""
        if tables > 0:
            for step in derived.steps:
                key = (step.org, step.run, step.step, step.attempt)[1:]
                if key not in self.steps or self.steps[key].last_seq <= step.last_seq:
                    self.steps[key] = step
        if tables > 1:
            for run in derived.runs:
                if (run.org, run.run) not in self.runs or self.runs[run.org, run.run].last_seq <= run.last_seq:
                    self.runs[run.org, run.run] = run
        if tables > 2:
            self.calls += derived.calls
        if tables > 3:
            self.costs += derived.costs

    def now(self) -> tuple[Any, ...]:
        steps = sorted(step._replace(last_seq=0) for step in self.steps.values() if not step.gone)
        return list(self.runs.values()), steps, self.calls, self.costs


def _log(drawn: list[tuple[type[ev.Event], Any]], data: st.DataObject) -> list[list[Row]]:
    log: list[ev.Event] = [
        ev.RunSubmitted(**IDS, ts=1, workflow="wf", version=3, definition={}, tags={"team": "x"}, redactions={"X": 1})
    ]
    seen = 1
    for seq, (kind, fields) in enumerate(drawn, 2):
        if issubclass(kind, ev.Decision):
            seen = data.draw(st.integers(seen, seq - 1))
            log.append(kind(**IDS, ts=seq, **fields, seen=seen))
        else:
            log.append(kind(**IDS, ts=seq, **fields))
    return [list(rows_of(ev.encode(event), seq)) for seq, event in enumerate(log, 1)]


@given(st.lists(EVENTS, max_size=40), st.data(), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_batches_and_kills_change_nothing(
    drawn: list[tuple[type[ev.Event], Any]], data: st.DataObject, seed: int
) -> None:
    log = _log(drawn, data)
    chance = random.Random(seed)
    sink, folder, position = Sink(), Folder(), 0
    while position < len(log):
        end = min(len(log), position + chance.randint(1, 9))
        batch = [row for message in log[position:end] for row in message]
        for org, run in folder.missing(batch):
            before = Folder()
            before.take([row for message in log[:position] for row in message])
            folder.put(before.run((org, run)))
        folder.take(batch)
        killed = chance.random() < 0.3
        sink.write(folder.flush(), chance.randint(0, 4) if killed else 4)
        if killed:
            folder = Folder()
            folder.calls_to = max((call.stream_seq for call in sink.calls), default=0)
            folder.costs_to = max((cost.stream_seq for cost in sink.costs), default=0)
        else:
            position = end
        if chance.random() < 0.2:  # the run is not in hand any more
            folder = _empty(folder)
    whole = Sink()
    rows = [row for message in log for row in message]
    whole.write(fold(rows))
    assert sink.now() == whole.now()
    _agrees(whole, machine.fold(rows))


def _empty(folder: Folder) -> Folder:
    other = Folder()
    other.calls_to, other.costs_to = folder.calls_to, folder.costs_to
    return other


def _agrees(sink: Sink, line: machine.Timeline) -> None:
    (run,) = sink.runs.values()
    assert (run.workflow, run.version, run.tags, run.status) == ("wf", 3, {"team": "x"}, line.status)
    assert (run.submitted_at, run.finished_at) == (line.submitted_at, line.finished_at)
    assert (run.cost_nano, run.input_tokens, run.output_tokens) == (
        line.cost_nano,
        line.input_tokens,
        line.output_tokens,
    )
    steps = {
        (step.step, step.attempt): (
            step.status, step.wait_ms, step.duration_ms, step.cost_nano, step.provider, step.finished_at,
            f"{step.error_type}: {step.error}" if step.error else step.error_type,
        )
        for step in sink.steps.values()
        if not step.gone
    }  # fmt: skip
    assert steps == {
        (one.step, one.attempt): (
            one.status, one.wait_ms, one.duration_ms, one.cost_nano, one.provider, one.finished_at,
            one.error.removesuffix(": "),
        )
        for one in line.steps()
    }  # fmt: skip
    assert run.attempts == sum(1 for one in line.steps() if one.attempt)
    assert run.steps == len({one.step for one in line.steps()})
    spent = sum(cost.cost_nano for cost in sink.costs)
    assert sum(call.cost_nano for call in sink.calls) == spent


def test_a_step_that_was_never_begun_after_all_is_gone() -> None:
    """A worker goes on with the next step. The scheduler, which had not seen that, has ended the first one."""
    step: dict[str, Any] = {**IDS, "step": "a", "attempt": 1}
    log: list[ev.Event] = [
        ev.RunSubmitted(**IDS, ts=1, workflow="wf", version=3, definition={}),
        ev.StepScheduled(**step, ts=2, seen=1, lane="d", kind="tool", config={}),
        ev.StepCompleted(**step, ts=3, begun=ev.BegunStep("b", "tool")),
        ev.StepTimedOut(**step, ts=4, seen=1, timeout_ms=2),
    ]
    rows = [list(rows_of(ev.encode(event), seq)) for seq, event in enumerate(log, 1)]
    sink, folder = Sink(), Folder()
    seen = []
    for batch in rows:
        folder.take(batch)
        sink.write(folder.flush())
        seen.append([(one.step, one.status) for one in sink.now()[1]])
    assert seen == [[], [("a", "scheduled")], [("a", "completed"), ("b", "scheduled")], [("a", "failed")]]
