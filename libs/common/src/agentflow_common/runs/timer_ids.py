"""The ids of a run's timers. Pure. They stand in logs: a change of one would lose the timers that are set.

An id is unique in its run: a second timer of an id replaces the first. So an id names what is timed and, where it can
be timed again, the attempt or iteration.
"""

from __future__ import annotations

from typing import Final

DEADLINE: Final = "deadline"  # the end of the run's time
CHILDREN: Final = "children"  # the end of the wait for subworkflows that undo what they did


def grace(grace_ms: int) -> str:
    """The end of a cancel's grace period. A second cancel may name another one."""
    return f"grace:{grace_ms}"


def timeout(step_key: str, attempt: int) -> str:
    """The end of an attempt's time."""
    return f"timeout:{step_key}:{attempt}"


def heartbeat(step_key: str, attempt: int) -> str:
    """The time by which an attempt must have sent a sign of life."""
    return f"heartbeat:{step_key}:{attempt}"


def retry(step_key: str, attempt: int) -> str:
    """The begin of the attempt after `attempt`, which failed."""
    return f"retry:{step_key}:{attempt}"


def total(step_key: str) -> str:
    """The end of the time that a step has for all of its attempts, children and iterations."""
    return f"total:{step_key}"


def wait(step_key: str) -> str:
    """The end of a `wait` node."""
    return f"wait:{step_key}"


def expire(step_key: str) -> str:
    """The time at which a signal or an approval is no longer waited for."""
    return f"expire:{step_key}"


def escalate(step_key: str) -> str:
    """The time at which an approval is put to further people."""
    return f"escalate:{step_key}"


def delay(step_key: str, iteration: int) -> str:
    """The begin of the iteration of a loop that follows `iteration`."""
    return f"delay:{step_key}:{iteration}"
