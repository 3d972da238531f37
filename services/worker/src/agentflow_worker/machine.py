"""The worker's decisions without I/O: which step of a delivered task should run, and how an
exception is reported.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from agentflow_common import events as ev
from agentflow_common import json_values
from agentflow_common.errors import AgentFlowError
from agentflow_common.events import Payload, StepError
from agentflow_common.expressions.language import walk
from agentflow_common.expressions.sandbox import ExpressionError

MESSAGE_CHARS_MAX: Final = 2_000
BASES_MAX: Final = 8
KIND_CHARS_MAX: Final = 200
STALE_MS: Final = 2_000  # the run of an older task may be over by now: its newest decision says so
_SAME_IN_JSON: Final = frozenset({str, int, bool, type(None)})
_CLOSING: Final = (ev.StepCancelled, ev.StepTimedOut)
_SETTLING: Final = (ev.StepScheduled, ev.StepCompleted, ev.StepFailed, ev.StepOutcomeUnknown, *_CLOSING)


class Position(NamedTuple):
    """The step that a task is at."""

    step: str
    given: dict[str, Payload]  # the outputs of the steps before it
    by: str  # the worker that began it; empty for the task's own step


def position(task: ev.StepScheduled, later: Iterable[ev.Event]) -> Position | None:
    """Returns where a task stands, by the events after it.

    Returns None if the task is over: its attempt was reported or closed, or its run has ended.
    """
    step, attempt, by = task.step, task.attempt, ""
    given: dict[str, Payload] = {}
    reported: set[tuple[str, int]] = set()
    for event in itertools.chain.from_iterable(map(ev.single, later)):
        if isinstance(event, ev.TERMINAL_RUN):
            return None
        if not isinstance(event, _SETTLING):
            continue
        if isinstance(event, _CLOSING) and (event.step, event.attempt) in reported:
            return None  # decided without knowledge of that report, which is void then
        if event.step != step or event.attempt != attempt:
            continue
        if not isinstance(event, ev.StepCompleted) or event.begun is None:
            return None
        given[step] = event.output
        reported.add((step, attempt))
        step, attempt, by = event.begun.step, 1, event.worker
    return Position(step, given, by)


def following(task: ev.StepScheduled, outputs: Mapping[str, Any]) -> ev.StepScheduled | None:
    """Returns the task of the step that follows.

    Returns None if no step follows, or if these outputs don't give its inputs: the scheduler
    decides then.
    """
    if not task.then:
        return None
    step = task.then[0]
    inputs = dict(step.inputs)
    try:
        for name, ref in step.refs.items():
            inputs[name] = plain(walk(outputs[ref.step], ref.path, "input"))  # a step may change its inputs
    except (ExpressionError, KeyError):
        return None
    return ev.StepScheduled(
        org=task.org,
        run=task.run,
        ts=task.ts,
        seen=task.seen,
        trace=task.trace,
        step=step.step,
        attempt=1,
        lane=task.lane,
        kind=step.kind,
        config=step.config,
        inputs=inputs,
        policy=step.policy,
        budget_nano=task.budget_nano,
        workflow=task.workflow,
        priority=task.priority,
        then=task.then[1:],
    )


def together(reports: Sequence[ev.StepCompleted]) -> ev.StepCompleted:
    """Returns one event for the reports of steps that were done one by one, oldest first.

    Each of them but the newest names the next one as begun.
    """
    newest = reports[-1]
    if len(reports) == 1:
        return newest
    before = tuple(
        ev.DoneStep(
            report.step,
            report.begun,
            report.ts,
            report.attempt,
            report.output,
            report.started_at,
            report.duration_ms,
            report.redactions,
        )
        for report in reports[:-1]
        if report.begun is not None
    )
    return msgspec.structs.replace(newest, before=before)


def plain(value: Any) -> Any:
    """Returns a copy of a value as it stands in the log."""
    return value if type(value) in _SAME_IN_JSON else msgspec.json.decode(msgspec.json.encode(value))


def needs_check(task: ev.StepScheduled, delivered: int, age_ms: int) -> bool:
    """True if the log must be read first: a redelivery, or a task that outlived its own timeout in
    the queue.
    """
    return delivered > 1 or (task.timeout_ms is not None and age_ms > task.timeout_ms)


def to_step_error(error: BaseException) -> StepError:
    """Returns an attempt's exception as it stands in the log.

    Its message is screened before it gets there.
    """
    if isinstance(error, AgentFlowError):
        problems = "; ".join(map(str, error.problems))
        text = f"{error.message}: {problems}" if problems and problems not in error.message else error.message
        raised = error.__cause__  # by the step, if the error is about that
        own = raised if raised is not None and type(raised).__name__ == error.kind else error
        kind = _kind(error.kind)
        return StepError(
            kind, clip(text or kind), error.retryable, error.retry_after_ms, _bases(own, kind, error.groups)
        )
    kind = _kind(type(error).__name__)
    return StepError(kind, clip(str(error) or kind), retryable=True, bases=_bases(error, kind))


def _kind(name: str) -> str:
    return json_values.escaped(name[:KIND_CHARS_MAX])


def _bases(error: BaseException, kind: str, groups: tuple[str, ...] = ()) -> tuple[str, ...]:
    names = (json_values.escaped(base.__name__) for base in type(error).__mro__ if issubclass(base, Exception))
    return tuple(name for name in dict.fromkeys((*groups, *names)) if name != kind and len(name) <= 100)[:BASES_MAX]


def clip(text: str) -> str:
    """Returns the text as it can stand in an event: not too long, and valid Unicode."""
    text = json_values.escaped(text)
    return text if len(text) <= MESSAGE_CHARS_MAX else text[: MESSAGE_CHARS_MAX - 1] + "\u2026"
