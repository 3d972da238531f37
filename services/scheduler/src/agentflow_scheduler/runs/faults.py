"""Errors of the engine itself, and how a run goes on after one. Pure.

The run is read from the log again, without the decisions that were not written, and is decided anew:

1. The step at fault fails for good. Its policy says what follows.
2. If that does not help, or no step is at fault, the run fails and is compensated.
3. If that can't be decided either, the run ends at once. Its last event names what is not undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from agentflow_common.errors import AgentFlowError, RetryableError
from agentflow_common.events import StepError
from agentflow_scheduler.runs.run import Run

ENGINE_ERROR: Final = "engine_error"
ENDING_LOST_TEXT: Final = "the scheduler stopped while it ended the run because of an error of the engine"
FAULTS_MAX: Final = 12  # steps of one run that may fail in one turn because of the engine; one more fails the run


class StepFault(Exception):
    """An error that is not a mistake in the definition, and the step at which it came (or "")."""

    def __init__(self, step: str, cause: Exception) -> None:
        super().__init__(f"{step}: {type(cause).__name__}: {cause}")
        self.step = step
        self.cause = cause


class LostValueError(RetryableError):
    """A value that the step needs can't be fetched now."""

    def __init__(self, step: str, cause: RetryableError) -> None:
        super().__init__(cause.message, kind=cause.kind, retry_after_ms=cause.retry_after_ms)
        self.step = step


@contextmanager
def at_step(step: str) -> Iterator[None]:
    """Blames an error in the block on this step. A RetryableError passes: its cause may be gone the next time."""
    try:
        yield
    except RetryableError:
        raise
    except Exception as error:
        raise StepFault(step, error) from error


class Faults:
    """The errors of one run in one turn, and which of the ways above the run has to take."""

    def __init__(self) -> None:
        self._steps: dict[str, StepError] = {}
        self._run: tuple[StepError, str] | None = None
        self._past_help = False

    def meet(self, error: Exception) -> bool:
        """Takes the error into account. Returns False if nothing more can be done."""
        if self._past_help:
            return False
        step = getattr(error, "step", "")
        shown = _shown(step, error.cause if isinstance(error, StepFault) else error)
        if self._run is not None:
            self._past_help = True
        elif step and step not in self._steps and len(self._steps) < FAULTS_MAX:
            self._steps[step] = shown
        else:
            self._run = (self._steps.get(step, shown), step)
        return True

    def mark(self, run: Run) -> None:
        """Marks a run that was just read from the log, so that the next decision heeds the errors."""
        run.faults = dict(self._steps)
        run.broken = self._run
        run.past_help = self._past_help


def _shown(step: str, cause: Exception) -> StepError:
    kind, text = ENGINE_ERROR, f"{type(cause).__name__} in the engine; see the scheduler's log"
    if isinstance(cause, AgentFlowError):
        kind, text = cause.kind, cause.message
    return StepError(kind, f"{step}: {text}" if step else text, retryable=False)
