"""Events of one run in any order, for what folds the rows of a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_trace import rows

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


EVENTS = st.one_of(
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


def rows_of(data: bytes, seq: int) -> Sequence[rows.Row]:
    return rows.singly(rows.of("AF_EVENTS", SUBJECT, data, seq, seq), data)
