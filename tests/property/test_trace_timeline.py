"""The trace agrees with the state of the run, and no message can stop ingestion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.runs import fold as run_fold
from agentflow_trace import machine, rows

IDS: dict[str, Any] = {"org": "acme", "run": "run_1"}
SUBJECT = subjects.run_in(subjects.key_of("acme", "run_1"))

_step = st.sampled_from(["a", "b"])
_attempt = st.integers(1, 3)
_usage = st.none() | st.builds(
    ev.LlmUsage,
    st.sampled_from(["p", "q"]),
    st.just("m"),
    st.just("x@1"),
    st.integers(0, 99),
    st.integers(0, 99),
    st.integers(0, 10**12),
)
_counts = st.dictionaries(st.sampled_from(["EMAIL_ADDRESS", "IBAN_CODE"]), st.integers(0, 9))
_error = st.builds(ev.StepError, st.sampled_from(["timeout", "rate_limited"]), st.text(max_size=5))


def _event(cls: type[ev.Event], /, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[type[ev.Event], Any]]:
    return st.tuples(st.just(cls), st.fixed_dictionaries(fields))


_anything = st.one_of(
    _event(ev.RunStarted, workflow=st.just("wf"), version=st.just(1), steps=st.just(2)),
    _event(ev.StepScheduled, step=_step, attempt=_attempt, lane=st.just("d"), kind=st.just("llm"), config=st.just({})),
    _event(ev.StepStarted, step=_step, attempt=_attempt, worker=st.just("w")),
    _event(ev.StepCompleted, step=_step, attempt=_attempt, llm=_usage, redactions=_counts),
    _event(ev.StepCompleted, step=_step, attempt=_attempt, begun=st.builds(ev.BegunStep, _step, st.just("function"))),
    _event(
        ev.StepCompleted,
        step=_step,
        attempt=_attempt,
        redactions=_counts,
        before=st.lists(
            st.builds(
                ev.DoneStep,
                _step,
                st.builds(ev.BegunStep, _step, st.just("function")),
                st.integers(1, 9),
                _attempt,
                redactions=_counts,
            ),
            min_size=1,
            max_size=3,
        ).map(tuple),
    ),
    _event(ev.StepFailed, step=_step, attempt=_attempt, llm=_usage, error=_error),
    _event(ev.StepOutcomeUnknown, step=_step, attempt=_attempt),
    _event(ev.StepTimedOut, step=_step, attempt=_attempt, timeout_ms=st.just(5)),
    _event(ev.StepCancelled, step=_step, attempt=_attempt),
    _event(ev.StepSkipped, step=_step, reason=st.just("condition")),
    _event(ev.StepUndecidable, step=_step, error=_error),
    _event(ev.StepExpanded, step=st.just("m"), width=st.integers(0, 3)),
    _event(ev.StepJoined, step=st.just("m"), status=st.sampled_from(["completed", "failed"])),
    _event(ev.TimerSet, timer=st.just("t"), kind=st.just("retry"), fire_at=st.just(9), step=_step, attempt=_attempt),
    _event(ev.TimerFired, timer=st.just("t"), kind=st.just("retry"), step=_step, attempt=_attempt),
    _event(ev.StepProgressed, step=_step, attempt=_attempt),
    _event(ev.StepQueued, step=_step, attempt=_attempt, lane=st.just("acme-1")),
    _event(ev.StepWaiting, step=_step, attempt=_attempt, kind=st.just("subworkflow"), child=st.just("run_c")),
    _event(
        ev.ChildEnded,
        step=_step,
        attempt=_attempt,
        child=st.just("run_c"),
        cost_nano=st.integers(0, 9),
        status=st.sampled_from(["completed", "failed", "continued"]),
        input_tokens=st.integers(0, 9),
    ),
    _event(ev.OutcomeResolved, step=_step, attempt=_attempt, outcome=st.sampled_from(["completed", "retry", "fail"])),
    _event(ev.StepResolved, step=_step, attempt=_attempt, status=st.sampled_from(["completed", "failed"])),
    _event(ev.StepIterated, step=st.just("l"), iteration=st.integers(1, 3)),
    _event(ev.RunWaiting, steps=st.just(("a",))),
    _event(ev.RunPaused),
    _event(ev.RunResumed),
    _event(ev.RunCompensating, status=st.just("failed"), steps=st.just(("a",))),
    _event(ev.RunFailed, error=_error),
    _event(ev.RunCancelled),
    _event(ev.RunCompleted, cost_nano=st.integers(0, 9)),
)


def _rows(data: bytes, seq: int) -> Sequence[rows.Row]:
    return rows.singly(rows.of("AF_EVENTS", SUBJECT, data, seq, seq), data)


@given(st.lists(_anything, max_size=40), st.data())
@settings(max_examples=300, deadline=None)
def test_the_timeline_and_the_runs_state_agree(drawn: list[tuple[type[ev.Event], Any]], data: st.DataObject) -> None:
    log: list[ev.Event] = [ev.RunSubmitted(**IDS, ts=1, workflow="wf", version=1, definition={}, redactions={"X": 1})]
    seen = 1
    for seq, (kind, fields) in enumerate(drawn, 2):
        if issubclass(kind, ev.Decision):
            seen = data.draw(st.integers(seen, seq - 1))
            log.append(kind(**IDS, ts=seq, **fields, seen=seen))
        else:
            log.append(kind(**IDS, ts=seq, **fields))
    state = run_fold.fold(list(enumerate(log, 1)))  # type: ignore[arg-type]
    line = machine.fold(row for seq, event in enumerate(log, 1) for row in _rows(ev.encode(event), seq))
    assert state is not None
    assert line.status == state.status
    assert (line.submitted_at, line.finished_at) == (state.submitted_at, state.finished_at)
    assert (line.cost_nano, line.input_tokens, line.output_tokens) == (
        state.cost_nano,
        state.input_tokens,
        state.output_tokens,
    )
    assert line.redactions == state.redactions
    newest = {step: line.attempts[step, attempt].status for step, attempt in line.current.items()}
    assert newest == {key: str(step.status) for key, step in state.steps.items()}
    assert all(step.wait_ms >= 0 and step.duration_ms >= 0 for step in line.steps())


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


_scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)


@given(
    st.binary(max_size=200)
    | st.dictionaries(
        st.sampled_from(sorted({"type", *rows.Row._fields, "llm", "counts", "trace"})),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=9)
        | st.dictionaries(st.text(), st.integers()),
    ).map(_json),
    st.text(max_size=40) | st.sampled_from([SUBJECT, "af.timer.1.run_1.t", "af.cost.acme.run_1"]),
)
@settings(max_examples=300, deadline=None)
def test_any_message_is_a_row_that_fits_its_columns(data: bytes, subject: str) -> None:
    row = rows.of("AF_EVENTS", subject, data, 1, 2)
    assert row.stream_seq == 1
    for name, kind in rows.COLUMNS.items():
        value = getattr(row, name)
        if kind == "String":
            value.encode()
        elif kind == "UInt32":
            assert 0 <= value < 2**32
        elif kind == "UInt64":
            assert 0 <= value < 2**64
        elif kind == "Int64":
            assert -(2**63) <= value < 2**63
        elif kind.startswith("DateTime64"):
            assert 0 <= value <= 9_000_000_000_000
        elif kind.startswith("Map"):
            assert all(isinstance(key, str) and 0 <= count < 2**64 for key, count in value.items())
