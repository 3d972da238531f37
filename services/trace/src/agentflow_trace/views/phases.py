"""The phases of a run's attempts, made from the run's rows: work, and each kind of wait. Pure.

An attempt goes through phases. Each phase lasts until the next one begins, and the last one until the
attempt ends:

- `lane`: it waits for a slot of a keyed lane.
- `worker`: it is offered to the workers of a pool.
- `work`: a worker runs it.
- `timer`, `signal`, `approval`, `child`: it waits for a time, a signal, people, or a subworkflow's run.
- `backoff`: it has failed, and its retry is due later.

The run as a whole has holds: times in which it begins no step (`lane`, `lock`, `pause`). The rest
is `scheduler`: the engine's own time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec

from agentflow_common.errors import UNREADABLE
from agentflow_trace import machine
from agentflow_trace.rows import Row

KINDS: Final = (
    "work", "worker", "lane", "lock", "backoff", "timer", "approval", "signal", "pause", "child", "scheduler",
)  # fmt: skip
_WAITS: Final = {"wait": "timer", "signal": "signal", "approval": "approval", "subworkflow": "child"}
_ENDS: Final = {"run.completed": "completed", "run.failed": "failed", "run.cancelled": "cancelled"}
_CLOSED: Final = {
    "step.joined": "", "step.resolved": "", "step.skipped": "skipped", "step.cancelled": "cancelled",
    "step.timed_out": "failed", "step.undecidable": "failed",
}  # fmt: skip


class Phase(NamedTuple):
    kind: str
    start: int  # ms since the epoch
    on: str = ""  # what is waited for


class Hold(NamedTuple):
    """A time in which the run, or a loop, begins nothing. end 0: it has not ended."""

    kind: str
    start: int
    end: int
    on: str = ""


class Attempt(msgspec.Struct):
    """An attempt of a step. Times in ms since the epoch."""

    number: int
    phases: list[Phase]
    end: int = 0  # 0: it has not ended
    retry_at: int = 0  # when the next attempt is due


class Step(msgspec.Struct):
    """A step, or a part of one.

    Places count the events in the order in which they took effect. They are even. The odd one after a report is that of
    the step with which the worker goes on: it begins after the reported one has ended.
    """

    key: str
    offered: int = 0  # the place of its first offer
    began: int = 0  # when that was, ms since the epoch
    settled: int = 0  # the place of its newest end; 0: it has none
    ended: int = 0  # when that was
    status: str = "pending"
    has_parts: bool = False
    attempts: list[Attempt] = []
    holds: list[Hold] = []  # pauses between iterations


class RunPhases(msgspec.Struct):
    """All steps of a run with their phases. Times in ms since the epoch."""

    submitted_at: int = 0
    finished_at: int = 0  # 0: it has not ended
    newest_at: int = 0
    status: str = ""  # how it ended
    failed_step: str = ""
    steps: dict[str, Step] = {}
    holds: list[Hold] = []
    before: dict[str, tuple[str, ...]] = {}  # by step of a graph: the steps of the superstep before
    superstep: tuple[str, ...] = ()


def fold(rows: Iterable[Row]) -> RunPhases:
    """Returns the phases of one run. rows: as `machine.fold` takes them."""
    run = RunPhases()
    for number, row in enumerate(machine.ordered(rows), 1):
        place = 2 * number
        run.newest_at = max(run.newest_at, row.ts)
        if row.type in _ENDS:
            run.status, run.finished_at, run.failed_step = _ENDS[row.type], row.ts, row.step
            for kind in ("lane", "lock", "pause"):
                _release(run.holds, kind, row.ts)
        elif row.type in _CLOSED:
            _close(run, row, place)
        elif (take := _TAKE.get(row.type)) is not None:
            take(run, row, place)
    return run


class _Body(msgspec.Struct):
    """The fields of several events that have no column."""

    lane: str = ""
    child: str = ""
    steps: tuple[str, ...] = ()
    fire_at: int = 0
    timer: str = ""
    status: str = ""
    detail: dict[str, Any] = {}
    begun: _Begun | None = None


class _Begun(msgspec.Struct):
    step: str = ""


_decoder: Final = msgspec.json.Decoder(_Body)


def _body(row: Row) -> _Body:
    try:
        return _decoder.decode(row.body)
    except UNREADABLE:
        return _Body()


def _step(run: RunPhases, key: str) -> Step:
    return run.steps.get(key) or run.steps.setdefault(key, Step(key, attempts=[], holds=[]))


def _offer(run: RunPhases, key: str, attempt: int, place: int, phase: Phase) -> Step:
    step = _step(run, key)
    if not step.offered:
        step.offered, step.began = place, phase.start
    step.settled = 0
    if step.attempts and step.attempts[-1].number == attempt and not step.attempts[-1].end:
        step.attempts[-1].phases.append(phase)
    else:
        step.attempts.append(Attempt(attempt, [phase]))
    return step


def _open(run: RunPhases, row: Row) -> Attempt | None:
    """Returns the attempt that a fact is about, if it is the newest one and has not ended."""
    step = run.steps.get(row.step)
    if step is None or not step.attempts or step.attempts[-1].number != row.attempt or step.attempts[-1].end:
        return None
    return step.attempts[-1]


def _end(step: Step, place: int, ts: int, status: str) -> None:
    step.settled, step.ended, step.status = place, ts, status
    if step.attempts and not step.attempts[-1].end:
        step.attempts[-1].end = ts


def _submitted(run: RunPhases, row: Row, _place: int) -> None:
    run.submitted_at = row.ts


def _queued(run: RunPhases, row: Row, place: int) -> None:
    lane = _body(row).lane
    _offer(run, row.step, row.attempt, place, Phase("lane" if lane else "pause", row.ts, lane)).status = "queued"


def _scheduled(run: RunPhases, row: Row, place: int) -> None:
    _offer(run, row.step, row.attempt, place, Phase("worker", row.ts, _body(row).lane)).status = "scheduled"


def _waiting(run: RunPhases, row: Row, place: int) -> None:
    body = _body(row)
    on = body.child or (str(body.detail.get("signal") or body.detail.get("name") or "") if body.detail else "")
    phase = Phase(_WAITS.get(row.kind, "timer"), row.ts, on)
    _offer(run, row.step, row.attempt, place, phase).status = "waiting"


def _has_parts(run: RunPhases, row: Row, place: int) -> None:
    step = _step(run, row.step)
    step.has_parts = True
    step.status = "running"
    step.settled = 0
    if not step.offered:
        step.offered, step.began = place, row.ts


def _started(run: RunPhases, row: Row, _place: int) -> None:
    attempt = _open(run, row)
    if attempt is not None and attempt.phases[-1].kind == "worker":
        attempt.phases.append(Phase("work", row.ts, row.worker))
        run.steps[row.step].status = "running"


def _reported(run: RunPhases, row: Row, place: int) -> None:
    attempt = _open(run, row)
    if attempt is None or attempt.phases[-1].kind not in ("worker", "work"):
        return
    began = row.started_at or (attempt.phases[-1].start if attempt.phases[-1].kind == "work" else row.ts)
    if attempt.phases[-1].kind == "work":
        attempt.phases.pop()
    attempt.phases.append(Phase("work", min(began, row.ts), row.worker))
    _end(run.steps[row.step], place, row.ts, row.type.removeprefix("step."))
    if row.type == "step.completed" and '"begun":' in row.body:
        begun = _body(row).begun
        if begun is not None and begun.step not in run.steps and not run.finished_at:
            _offer(run, begun.step, 1, place + 1, Phase("worker", row.ts)).status = "scheduled"


def _child_ended(run: RunPhases, row: Row, place: int) -> None:
    attempt = _open(run, row)
    if attempt is not None and attempt.phases[-1].kind == "child" and row.status != "continued":
        _end(run.steps[row.step], place, row.ts, "completed" if row.status == "completed" else "failed")


def _slot_refused(run: RunPhases, row: Row, place: int) -> None:
    if _open(run, row) is not None:
        _end(run.steps[row.step], place, row.ts, "failed")


def _outcome_resolved(run: RunPhases, row: Row, place: int) -> None:
    step = run.steps.get(row.step)
    if step is None or step.status != "outcome_unknown" or step.attempts[-1].number != row.attempt:
        return
    attempt = step.attempts[-1]
    attempt.phases.append(Phase("approval", attempt.end))
    attempt.end = row.ts
    _end(step, place, row.ts, "completed" if '"outcome":"completed"' in row.body else "failed")


def _timer_set(run: RunPhases, row: Row, _place: int) -> None:
    step = run.steps.get(row.step)
    if step is None:
        return
    if row.kind == "retry" and step.attempts and step.attempts[-1].end:
        step.attempts[-1].retry_at = _body(row).fire_at
        step.settled, step.status = 0, "retrying"
    elif step.has_parts and row.kind == "wait":
        step.holds.append(Hold("timer", row.ts, _body(row).fire_at))


def _close(run: RunPhases, row: Row, place: int) -> None:
    step = _step(run, row.step)
    if not step.offered:
        step.offered, step.began = place, row.ts
    _end(step, place, row.ts, _CLOSED[row.type] or row.status)


def _release(holds: list[Hold], kind: str, ts: int, on: str = "") -> None:
    for number, hold in enumerate(holds):
        if hold.kind == kind and not hold.end and on in ("", hold.on):
            holds[number] = hold._replace(end=max(ts, hold.start))


def _held(run: RunPhases, row: Row, _place: int) -> None:
    kind = {"run.queued": "lane", "run.locking": "lock"}.get(row.type, "pause")
    on = _body(row).lane if kind != "pause" else "breakpoint" if row.type == "run.stopped" else ""
    _release(run.holds, kind, row.ts)
    if on or kind == "pause":
        run.holds.append(Hold(kind, row.ts, 0, on))


def _slot_granted(run: RunPhases, row: Row, _place: int) -> None:
    lane = _body(row).lane
    _release(run.holds, "lane", row.ts, lane)
    _release(run.holds, "lock", row.ts, lane)


def _resumed(run: RunPhases, row: Row, _place: int) -> None:
    _release(run.holds, "pause", row.ts)


def _advanced(run: RunPhases, row: Row, _place: int) -> None:
    steps = _body(row).steps
    for key in steps:
        run.before[key] = run.superstep
    run.superstep = steps


_TAKE: Final[dict[str, Callable[[RunPhases, Row, int], None]]] = {
    "run.submitted": _submitted,
    "step.queued": _queued,
    "step.scheduled": _scheduled,
    "step.waiting": _waiting,
    "step.expanded": _has_parts,
    "step.iterated": _has_parts,
    "step.started": _started,
    "step.progressed": _started,
    "step.completed": _reported,
    "step.failed": _reported,
    "step.outcome_unknown": _reported,
    "child.ended": _child_ended,
    "slot.refused": _slot_refused,
    "outcome.resolved": _outcome_resolved,
    "timer.set": _timer_set,
    "run.queued": _held,
    "run.locking": _held,
    "run.paused": _held,
    "run.stopped": _held,
    "run.slot_granted": _slot_granted,
    "run.slot_refused": _slot_granted,
    "run.resumed": _resumed,
    "graph.advanced": _advanced,
}
