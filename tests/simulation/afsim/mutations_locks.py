"""Bugs to plant in locks. See mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentflow_common.runs.state import Locks, RunState, RunStatus
from agentflow_scheduler.runs import chain
from agentflow_scheduler.runs.steps import locks

Change = tuple[Any, Any, Any]


def lock_not_waited_for() -> list[Change]:
    """A run asks for its locks and does not wait for them."""
    real = locks.admit

    def admit(at: Any) -> bool:
        real(at)
        at.run.lock_waits.pop(at.key, None)
        return True

    return [(locks, "admit", admit)]


def lock_kept_on_cancel() -> list[Change]:
    """A run that is cancelled does not give its locks back."""
    real = locks.give_back

    def give_back(state: RunState, out: Any) -> None:
        if state.status is not RunStatus.CANCELLED:
            real(state, out)

    return [(locks, "give_back", give_back)]


def locks_in_any_order() -> list[Change]:
    """A run takes its locks in the order of its definition, so that two runs may wait for each other."""

    def to_take(state: RunState, taking: Locks) -> list[str]:
        return [lane for lane in dict.fromkeys(taking.lanes) if lane not in state.lanes_above]

    return [(locks, "to_take", to_take)]


def lock_given_back_too_soon() -> list[Change]:
    """A lock goes back when one of its nodes has ended."""
    real = locks.over

    def over(run: Any, taking: Locks) -> list[str]:
        ended = [
            lane
            for lane, lock in zip(taking.lanes, run.plan.locks, strict=True)
            if lane in taking.held and any(name in run.decided for name in lock.nodes)
        ]
        return list(dict.fromkeys([*real(run, taking), *ended]))

    return [(locks, "over", over)]


def worker_goes_on_under_the_lock() -> list[Change]:
    """A worker goes on by itself with a node under a lock that its run has not taken."""
    real = chain._follows

    def follows(head: Any, node: Any, following: Any) -> bool:
        own, following.locks = following.locks, node.locks
        try:
            return real(head, node, following)
        finally:
            following.locks = own

    return [(chain, "_follows", follows)]


ALL: tuple[Callable[[], list[Change]], ...] = (
    lock_not_waited_for, lock_kept_on_cancel, locks_in_any_order, lock_given_back_too_soon,
    worker_goes_on_under_the_lock,
)  # fmt: skip
