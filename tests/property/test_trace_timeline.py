"""The trace agrees with the state of the run, and no message can stop ingestion."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.runs import fold as run_fold
from agentflow_trace import machine, rows

from .trace_events import EVENTS, IDS, SUBJECT, rows_of


@given(st.lists(EVENTS, max_size=40), st.data())
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
    line = machine.fold(row for seq, event in enumerate(log, 1) for row in rows_of(ev.encode(event), seq))
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
