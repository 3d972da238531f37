"""Errors of the engine itself: what becomes of a run that it can't go on with. Pure.

The run is read again from the log, without what was decided and not written, and decided anew. First the step at fault
fails, for good, and what follows from that is what its policy says. If that does not help, or no step is at fault, the
run fails and is compensated. If that can't be decided either, it ends as it is, and its end names what is not undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from agentflow_common.errors import AgentFlowError, InvalidError, RetryableError
from agentflow_common.events import StepError
from agentflow_scheduler.runs.run import Run

ENGINE_ERROR: Final = "engine_error"
CUT_OFF_TEXT: Final = "the run was being ended for an error of the engine when its scheduler stopped"
FAULTS_MAX: Final = 12  # steps of one run that fail of it in one turn; then the run does


class StepFault(Exception):
    """An error that no definition accounts for, and the step at which it came; empty if at none."""

    def __init__(self, step: str, cause: Exception) -> None:
        super().__init__(f"{step}: {type(cause).__name__}: {cause}")
        self.step = step
        self.cause = cause


class LostValueError(RetryableError):
    """A value that the step asks for and that can't be fetched now."""

    def __init__(self, step: str, cause: RetryableError) -> None:
        super().__init__(cause.message, kind=cause.kind, retry_after_ms=cause.retry_after_ms)
        self.step = step


@contextmanager
def at_step(step: str) -> Iterator[None]:
    """What goes wrong in here goes wrong at this step. What may be there later is no fault."""
    try:
        yield
    except RetryableError:
        raise
    except Exception as error:
        raise StepFault(step, error) from error


def check_fault(run: Run, key: str) -> None:
    """InvalidError if the step is to fail of an error of the engine."""
    if key in run.faults:
        raise InvalidError(run.faults[key].message)


class Faults:
    """What went wrong with one run in one turn, and how far one had to go for it."""

    def __init__(self) -> None:
        self._steps: dict[str, StepError] = {}
        self._run: tuple[StepError, str] | None = None
        self._past_help = False

    def meet(self, error: Exception) -> bool:
        """Takes the error in; False if nothing more can be done."""
        if self._past_help:
            return False
        step = getattr(error, "step", "")
        told = _told(step, error.cause if isinstance(error, StepFault) else error)
        if self._run is not None:
            self._past_help = True
        elif step and step not in self._steps and len(self._steps) < FAULTS_MAX:
            self._steps[step] = told
        else:
            self._run = (self._steps.get(step, told), step)
        return True

    def tell(self, run: Run) -> None:
        """Lets the run, as it was just read from the log, be decided accordingly."""
        run.faults = dict(self._steps)
        run.broken = self._run
        run.past_help = self._past_help


def _told(step: str, cause: Exception) -> StepError:
    kind, text = ENGINE_ERROR, f"{type(cause).__name__} in the engine; see the scheduler's log"
    if isinstance(cause, AgentFlowError):
        kind, text = cause.kind, cause.message
    return StepError(kind, f"{step}: {text}" if step else text, retryable=False)
