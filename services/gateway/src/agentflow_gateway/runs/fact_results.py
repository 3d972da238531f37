"""What became of a fact that was recorded: it counts as the log says once a decision knew it.

A fact stands in the log before the scheduler reads it, and a decision that was taken without it may follow it there.
Until then a fold of the log counts the fact, though the decision leaves it out. That happens to an answer that comes
after the one that decided, and to a signal that comes after the end. So a caller is answered after the first decision
that knew the fact.
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
from agentflow_common import subjects
from agentflow_common.errors import DeadlineError, RetryableError
from agentflow_common.runs.fold import readable
from agentflow_common.runs.state import RunState
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import view as run_view
from agentflow_gateway.runs.submit import no_such_run, run_key

WAIT_S_MAX: Final = 2.0  # that a caller waits for the scheduler; it takes milliseconds while one is there
_LOOK_S: Final = 0.005
_LOOK_S_MAX: Final = 0.16


class Heard(msgspec.Struct, frozen=True):
    """known: a decision knew the fact, or the run ended without it (`late`). seq: that decision's sequence."""

    known: bool = False
    late: bool = False
    seq: int = 0


async def look(deps: Deps, call: Call, run_id: str, seq: int, wait_s: float = WAIT_S_MAX) -> Heard:
    """Waits until the run's scheduler knows the fact at `seq`, for at most `wait_s`; looks once at least."""
    everything = subjects.run_out_all(run_key(call, run_id))
    look_s = _LOOK_S
    with contextlib.suppress(DeadlineError, nats.errors.Error, APIError, TimeoutError):  # the fact is durable anyway
        ends_at = time.monotonic() + call.timeout_s(wait_s)
        while True:
            stored = await deps.log.newest_message(everything)
            event = None if stored is None else readable(stored.subject, stored.data)
            knows = isinstance(event, ev.Decision) and event.seen >= seq
            if stored is not None and (knows or isinstance(event, ev.TERMINAL_RUN)):
                return Heard(known=True, late=not knows, seq=stored.seq)
            if time.monotonic() >= ends_at:
                break
            await asyncio.sleep(look_s)
            look_s = min(_LOOK_S_MAX, look_s * 2)
    return Heard()


async def state(deps: Deps, call: Call, run_id: str, heard: Heard) -> RunState:
    """How the run stands, with the decision that was seen: replicas of the log may lag behind its leader."""
    wait_s = _LOOK_S
    while True:
        found = await run_view.load(deps, run_key(call, run_id))
        if found is None:
            raise no_such_run(run_id)
        if found.last_seq >= heard.seq:
            return found.state
        if wait_s > WAIT_S_MAX:
            raise RetryableError("a replica of the log lags; ask again how the run stands", kind="log_lags")
        await asyncio.sleep(wait_s)
        wait_s *= 2
