"""The result of a fact that was recorded. The log shows it once a decision knew the fact.

A fact is in the log before the scheduler reads it, and a decision that was made without it may follow it there. Until
then a fold of the log counts the fact, though the decision leaves it out. That happens to an answer that comes after
the one that decided, and to a signal that comes after the end. So a caller is answered after the first decision that
knew the fact.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

import msgspec
import nats.errors
from nats.js.errors import APIError

from agentflow_common import events as ev
from agentflow_common import subjects, tasks
from agentflow_common.errors import DeadlineError, RetryableError
from agentflow_common.runs.fold import readable
from agentflow_common.runs.state import RunState
from agentflow_gateway.api.call import Call
from agentflow_gateway.runs import view as run_view
from agentflow_gateway.runs.lookup import no_such_run, run_key

WAIT_S_MAX: Final = 2.0  # that a caller waits for the scheduler; it takes milliseconds while one is there
_LOOK_S: Final = 0.005


class FactResult(msgspec.Struct, frozen=True):
    known: bool = False  # a decision knew the fact, or the run ended without it
    late: bool = False  # the run ended without it
    seq: int = 0  # of that decision


async def look(call: Call, run_id: str, seq: int, wait_s: float | None = None) -> FactResult:
    """Waits until the run's scheduler knows the fact at `seq`, for at most `wait_s`. It looks at least once.

    wait_s: WAIT_S_MAX if it is not given.
    """
    if wait_s is None:
        wait_s = WAIT_S_MAX
    decisions = subjects.run_out_all(run_key(call, run_id))
    with contextlib.suppress(DeadlineError, nats.errors.Error, APIError, TimeoutError):  # the fact is durable anyway
        ends_at = time.monotonic() + call.timeout_s(wait_s)
        for pause_s in tasks.pauses(_LOOK_S, 0.16):
            stored = await call.deps.log.newest_message(decisions)
            event = None if stored is None else readable(stored.subject, stored.data)
            knows = isinstance(event, ev.Decision) and event.seen >= seq
            if stored is not None and (knows or isinstance(event, ev.TERMINAL_RUN)):
                return FactResult(known=True, late=not knows, seq=stored.seq)
            if time.monotonic() >= ends_at:
                break
            await asyncio.sleep(pause_s)
    return FactResult()


async def state(call: Call, run_id: str, result: FactResult) -> RunState:
    """Returns the run's state with the decision that was seen: replicas of the log may lag behind its leader."""
    for pause_s in tasks.pauses(_LOOK_S, 2 * WAIT_S_MAX):
        folded = await run_view.load(call, run_id)
        if folded is None:
            raise no_such_run(run_id)
        if folded.last_seq >= result.seq:
            return folded.state
        if pause_s > WAIT_S_MAX:
            break
        await asyncio.sleep(pause_s)
    raise RetryableError("a replica of the log lags; ask again for the state of the run", kind="log_lags")
