"""The ids of a run's timers. Pure. They stand in logs: a change of one would lose the timers that are set.

An id is unique in its run: a second timer of an id replaces the first. So an id names what is timed and, where it can
be timed again, the attempt or iteration.
"""

from __future__ import annotations

from typing import Final

DEADLINE: Final = "deadline"  # the end of the run's time
CHILDREN: Final = "children"  # the end of the wait for subworkflows that undo what they did
FINALLY: Final = "finally"  # the end of the time of the nodes with `finally: true`


def grace(grace_ms: int) -> str:
    """Returns the timer of the end of a cancel's grace period. A second cancel may name another one."""
    return f"grace:{grace_ms}"


def pause_end(until: int) -> str:
    """Returns the timer of the end of a pause."""
    return f"pause_end:{until}"


def timeout(step_key: str, attempt: int) -> str:
    """Returns the timer of the end of an attempt's time."""
    return f"timeout:{step_key}:{attempt}"


def heartbeat(step_key: str, attempt: int) -> str:
    """Returns the timer of the next heartbeat that an attempt must send."""
    return f"heartbeat:{step_key}:{attempt}"


def retry(step_key: str, attempt: int) -> str:
    """Returns the timer of the begin of the attempt after `attempt`, which failed."""
    return f"retry:{step_key}:{attempt}"


def total(step_key: str) -> str:
    """Returns the timer of the end of the time for all attempts, children and iterations of a step."""
    return f"total:{step_key}"


def wait(step_key: str) -> str:
    """Returns the timer of the end of a `wait` node."""
    return f"wait:{step_key}"


def expire(step_key: str) -> str:
    """Returns the timer of the end of the wait for a signal or an approval."""
    return f"expire:{step_key}"


def escalate(step_key: str) -> str:
    """Returns the timer by which further people are asked for an approval."""
    return f"escalate:{step_key}"


def delay(step_key: str, iteration: int) -> str:
    """Returns the timer of the begin of the iteration after `iteration` of a loop."""
    return f"delay:{step_key}:{iteration}"
