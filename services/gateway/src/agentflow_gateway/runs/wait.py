"""Waits for the end of a run, and of the runs that continue it. Thousands may wait: each costs one read, and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import InvalidError, OverloadedError
from agentflow_common.log.consumers import Delivery
from agentflow_common.log.event_log import Stored
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.gate import Gate
from agentflow_gateway.run_tails import may_be_end
from agentflow_gateway.runs import view
from agentflow_gateway.runs.lookup import first_event, no_such_run, run_key

ANSWER_S: Final = 0.5  # left of the client's deadline to make the answer
LOOK_AGAIN_S: Final = 30.0  # if nothing came so long, the log is asked
_KEPT_MAX: Final = 16  # decisions about one run that came while nobody took them


class Waited(NamedTuple):
    """The end of a wait."""

    run: str  # the newest run of the chain that was waited for
    seq: int  # of the event that ended it; 0 if it has not ended
    whole: Sequence[Delivery] | None = None  # the run's log, if it is at hand


class _End(NamedTuple):
    seq: int
    continued_as: str
    whole: Sequence[Delivery] | None = None


class Waiters:
    """Admits at most `waiters_max` calls."""

    def __init__(self) -> None:
        self._gate = Gate(_too_many)

    async def wait(self, call: Call, run_id: str, timeout_ms: int, follow_chain: bool) -> Waited:
        """Returns when the run has ended, or when the time is over. NotFoundError, OverloadedError.

        timeout_ms: 0 for as long as the gateway allows.
        follow_chain: waits for the end of the run that continues it, too.
        """
        settings, now = call.deps.settings, asyncio.get_running_loop().time
        if timeout_ms < 0:
            raise InvalidError.at("timeout_ms", f"timeout_ms {timeout_ms} is below 0", "use 0 for the longest wait")
        longest_s = min(timeout_ms / 1000 or settings.wait_s_max, settings.wait_s_max)
        end_s = now() + call.timeout_s(longest_s + ANSWER_S) - ANSWER_S
        with self._gate.entered(settings.waiters_max):
            while True:
                end = await _end_of(call, run_id, end_s)
                if end is None:
                    return Waited(run_id, 0)
                if not follow_chain or not end.continued_as:
                    return Waited(run_id, end.seq, end.whole)
                run_id = end.continued_as


def _too_many(text: str) -> OverloadedError:
    text += " waits; try again, or poll GetRun"
    return OverloadedError(text, kind="too_many_waiters", retry_after_ms=2000)


async def _end_of(call: Call, run_id: str, end_s: float) -> _End | None:
    """Returns how the run ended, None if it has not when the time is over. end_s: by the loop's clock."""
    key, now, tails = run_key(call, run_id), asyncio.get_running_loop().time, call.deps.tails
    async with tails.following_end(key, _KEPT_MAX) as following:
        whole = following.whole()
        end = await _end_in_log(call, key) if whole is None else _end_among(whole)
        while end is None and (left_s := end_s - now()) > 0:
            came = await following.take(min(left_s, LOOK_AGAIN_S))
            end = _end_among(came)
            if end is None and not came:
                following.begin_again()
                end = await _end_in_log(call, key)
        return end and end._replace(whole=following.whole())


def _end_among(messages: Iterable[Delivery]) -> _End | None:
    return next((end for item in messages if may_be_end(item) and (end := _end(item.seq, item.data))), None)


async def _end_in_log(call: Call, key: subjects.EntityKey) -> _End | None:
    last = await _last_decision(call, key)
    if last is not None:
        return _end(last.seq, last.data)
    if await first_event(call.deps, key) is not None:
        return None
    return await _end_of_fold(call, key.name)


async def _last_decision(call: Call, key: subjects.EntityKey) -> Stored | None:
    """Returns the newest decision about the run. With replicas the leader is asked: another one may lag."""
    log = call.deps.log
    ask = log.newest_message if call.deps.settings.replicas > 1 else log.last
    return await ask(subjects.out_run(key))


async def _end_of_fold(call: Call, run_id: str) -> _End | None:
    """Returns how the run ended by its whole log, which may be in the archive. NotFoundError for an unknown run."""
    folded = await view.load(call, run_id)
    if folded is None:
        raise no_such_run(run_id)
    return _End(folded.last_seq, folded.state.continued_as) if folded.state.status.terminal else None


def _end(seq: int, data: bytes) -> _End | None:
    event = ev.try_decode(data)
    return _End(seq, getattr(event, "continued_as", "")) if isinstance(event, ev.TERMINAL_RUN) else None
