"""A piece of work is tried again for a while, counted from its first error."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from agentflow_common import tasks
from agentflow_common.errors import DeadlineError, RetryableError

PATIENCE_S = 0.3


class Service:
    """Fails with each of the errors in turn, the first after `first_s` seconds, and then answers."""

    def __init__(self, *errors: RetryableError, first_s: float = 0.0) -> None:
        self.errors, self.first_s, self.asked = list(errors), first_s, 0

    async def ask(self) -> str:
        self.asked += 1
        if self.asked == 1:
            await asyncio.sleep(self.first_s)
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def lost() -> DeadlineError:
    return DeadlineError("security.protect did not answer", kind="rpc_timeout")


def away() -> RetryableError:
    return RetryableError("the security service is not running", kind="service_unavailable")


async def test_cluster_01_a_question_that_a_killed_process_took_along_is_asked_again() -> None:
    service = Service(lost(), away(), first_s=2 * PATIENCE_S)
    assert await tasks.patiently(service.ask, PATIENCE_S, 0.1) == "answer"
    assert service.asked == 3


async def test_patience_ends_and_the_last_error_is_raised() -> None:
    service = Service(*(away() for _ in range(50)))
    with pytest.raises(RetryableError, match="not running"):
        await tasks.patiently(service.ask, PATIENCE_S, 0.1)
    assert 2 <= service.asked < 10


async def test_errors_of_other_kinds_are_raised_at_once() -> None:
    service = Service(lost())
    with pytest.raises(DeadlineError, match="did not answer"):
        await tasks.patiently(service.ask, PATIENCE_S, 0.1, kinds={"service_unavailable"})
    assert service.asked == 1


async def test_a_task_that_slept_through_its_cancellation_heeds_it_later() -> None:
    async def sleeps_through_it() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        tasks.heed_cancellation()

    task = asyncio.create_task(sleeps_through_it())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    tasks.heed_cancellation()  # this task was not cancelled
