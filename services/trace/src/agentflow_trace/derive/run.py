"""One run in hand: its timeline, and which of its attempts changed since they were written last. Pure.

A fact that no decision has seen yet counts in what is written, as it does in a trace: it is applied for the moment and
taken back, because the next decision may come before it. So whatever a row may touch is written again when the row
arrives, when it is applied for good, and each time before.
"""

from __future__ import annotations

import copy
from typing import Final

import msgspec

from agentflow_common.errors import UNREADABLE
from agentflow_common.rpc import TraceStep
from agentflow_common.runs.state import node_of
from agentflow_trace import machine
from agentflow_trace.derive import submission
from agentflow_trace.derive.tables import RunRow, StepRow
from agentflow_trace.rows import Row

Attempt = tuple[str, int]

SUBMITTED: Final = "run.submitted"
_GOES_ON: Final = '"begun":'
_FAILED: Final = frozenset({"failed", "outcome_unknown"})
_BEGUN: Final = frozenset({"step.scheduled", "step.waiting"})  # these name the type of the node that runs
WEIGHT: Final = 4  # of a run without attempts


class _Begun(msgspec.Struct):
    step: str = ""


class _GoesOn(msgspec.Struct):
    begun: _Begun | None = None


class _Queued(msgspec.Struct):
    lane: str = ""


class RunFold(machine.Folding):
    """A run since it was last submitted."""

    def __init__(self, org: str, run: str) -> None:
        super().__init__()
        self.org = org
        self.run = run
        self.submitted: Row | None = None  # without its body
        self.said = submission.NOTHING
        self.last_seq = 0
        self.weighed = 0  # its weight when it was written last
        self.changed: set[Attempt] = set()
        self._doubtful: set[Attempt] = set()  # those of them that may have been written, and be none after all
        self._kinds: dict[str, str] = {}  # by node, as the definition says
        self._own_kinds: dict[Attempt, str] = {}  # of attempts whose events say it
        self._lanes: dict[Attempt, str] = {}
        self._started_at = 0
        self._ended: Row | None = None
        self._providers: dict[str, None] = {}
        self._models: dict[str, None] = {}
        self._prompts: dict[str, None] = {}

    @property
    def weight(self) -> int:
        """The memory that it takes, in attempts."""
        return WEIGHT + len(self.line.attempts) + len(self.ahead)

    @property
    def workflow(self) -> str:
        return self.submitted.workflow if self.submitted else ""

    @property
    def version(self) -> int:
        return self.submitted.version if self.submitted else 0

    # --- taking rows ---

    def take(self, row: Row) -> None:
        if row.type in machine.APART:
            return
        self.last_seq = row.stream_seq
        if row.provider:
            self._providers[row.provider] = None
        if row.model:
            self._models[row.model] = None
        if row.prompt:
            self._prompts[row.prompt] = None
        if row.type == SUBMITTED:
            self.said = submission.read(row.body)
            self._kinds = submission.kinds(self.said)
            self.said.definition = submission.NOTHING.definition
            self.submitted = row = row._replace(body="")
        super().take(row)

    def apply(self, row: Row) -> None:
        if not row.step or row.type in machine.ENDED:  # a failed run names the step by which it failed
            self._of_run(row)
            super().apply(row)
            return
        attempts, current = self.line.attempts, self.line.current
        count = len(attempts)
        self.changed.add((row.step, row.attempt))
        self._mark(row.step, current.get(row.step))
        if row.type in _BEGUN:
            self._own_kinds[row.step, row.attempt] = row.kind
        super().apply(row)
        self._mark(row.step, current.get(row.step))
        if row.type == "step.scheduled":
            self._lanes[row.step, row.attempt] = row.subject.rpartition(".out.task.")[2]
        elif row.type == "step.queued":
            self._lanes[row.step, row.attempt] = _lane(row)
        elif row.type == "step.completed" and _GOES_ON in row.body:
            # it may have begun the next step, or may have seemed to before
            self._doubtful.add((next(reversed(attempts))[0] if len(attempts) > count else _next(row), 1))

    def _mark(self, step: str, attempt: int | None) -> None:
        if attempt is not None:
            self.changed.add((step, attempt))

    def _of_run(self, row: Row) -> None:
        if row.type == "run.started":
            self._started_at = self._started_at or row.ts
        elif row.type in machine.ENDED:
            self._ended = row

    # --- what is written ---

    def rows(self) -> tuple[RunRow | None, list[StepRow]]:
        """Returns the run and the attempts that changed since the last call. No run: its submission is unknown."""
        submitted = self.submitted
        if submitted is None:
            self.written()
            return None, []
        undo = _Undo(self)
        try:
            for row in self.ahead:
                undo.note(row)
                self.apply(row)
            attempts = self.line.attempts
            steps = [
                self._step_row(submitted, key, attempts.get(key))
                for key in sorted(self.changed | self._doubtful)
                if key in attempts or key in self._doubtful
            ]
            return self._run_row(submitted), steps
        finally:
            undo.do()
            self.written()

    def written(self) -> None:
        """Notes that everything is written."""
        self.changed.clear()
        self._doubtful.clear()

    def _run_row(self, submitted: Row) -> RunRow:
        line = self.line
        offered = [attempt for attempt in line.attempts.values() if attempt.attempt]
        parent, origin = self.said.parent, self.said.origin
        ended = self._ended
        return RunRow(
            org=self.org,
            submitted_at=submitted.ts,
            run=self.run,
            workflow=submitted.workflow,
            version=submitted.version,
            status=line.status,
            tags=self.said.tags,
            parent_run=parent.run if parent else "",
            parent_step=parent.step if parent else "",
            parent_attempt=parent.attempt if parent else 0,
            origin_kind=origin.kind if origin else "",
            origin_run=origin.run if origin else "",
            started_at=self._started_at,
            finished_at=line.finished_at,
            duration_ms=max(0, line.finished_at - submitted.ts) if line.finished_at else 0,
            cost_nano=line.cost_nano,
            input_tokens=line.input_tokens,
            output_tokens=line.output_tokens,
            steps=len(line.current),
            attempts=len(offered),
            failed_attempts=sum(1 for attempt in offered if attempt.status in _FAILED),
            retries=len(offered) - len({attempt.step for attempt in offered}),
            providers=tuple(self._providers),
            models=tuple(self._models),
            prompts=tuple(self._prompts),
            error_type=ended.error_type if ended else "",
            error=ended.error if ended else "",
            trace_id=line.trace_id,
            submitted_seq=submitted.stream_seq,
            last_seq=self.last_seq,
        )

    def _step_row(self, submitted: Row, key: Attempt, attempt: TraceStep | None) -> StepRow:
        if attempt is None:
            return StepRow(self.org, submitted.ts, self.run, *key, last_seq=self.last_seq, gone=1)
        node = node_of(attempt.step)
        error_type, _, error = attempt.error.partition(": ")
        return StepRow(
            org=self.org,
            submitted_at=submitted.ts,
            run=self.run,
            step=attempt.step,
            attempt=attempt.attempt,
            workflow=submitted.workflow,
            version=submitted.version,
            node=node,
            kind=self._own_kinds.get(key) or self._kinds.get(node, ""),
            status=attempt.status,
            worker=attempt.worker,
            lane=self._lanes.get(key, ""),
            scheduled_at=attempt.scheduled_at,
            started_at=attempt.started_at,
            finished_at=attempt.finished_at,
            wait_ms=machine.waited_ms(attempt),
            duration_ms=attempt.duration_ms,
            cost_nano=attempt.cost_nano,
            input_tokens=attempt.input_tokens,
            output_tokens=attempt.output_tokens,
            provider=attempt.provider,
            model=attempt.model,
            prompt=attempt.prompt,
            cache_hit=attempt.cache_hit,
            finish_reason=attempt.finish_reason,
            error_type=error_type,
            error=error,
            reason=attempt.reason,
            last_seq=self.last_seq,
        )


class _Undo:
    """The parts of a timeline as they were, to be put back."""

    def __init__(self, fold: RunFold) -> None:
        self._fold = fold
        self._attempts: dict[Attempt, TraceStep] = {}
        line = fold.line
        self._count = len(line.attempts)
        fold.line = copy.copy(line)
        fold.line.redactions = dict(line.redactions)
        self._line = line

    def note(self, row: Row) -> None:
        """Notes what a fact may change, before it does."""
        line = self._line
        for key in ((row.step, row.attempt), (row.step, line.current.get(row.step, row.attempt))):
            found = line.attempts.get(key)
            if found is not None and key not in self._attempts:
                self._attempts[key] = copy.copy(found)

    def do(self) -> None:
        line = self._line
        self._fold.line = line
        while len(line.attempts) > self._count:  # of steps that workers had gone on with
            step, _ = line.attempts.popitem()[0]
            del line.current[step]
        for key, found in self._attempts.items():
            if key in line.attempts:
                line.attempts[key] = found


def _next(row: Row) -> str:
    try:
        found = msgspec.json.decode(row.body, type=_GoesOn).begun
    except UNREADABLE:
        return ""
    return found.step if found else ""


def _lane(row: Row) -> str:
    try:
        return msgspec.json.decode(row.body, type=_Queued).lane
    except UNREADABLE:
        return ""
