"""The state of a watch over connections that may drop: what to ask for, what was seen, and when to give up.

Pure: responses, errors, times (seconds of any steady clock) and random numbers are arguments.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, Final

from agentflow.v1 import workflow_pb2
from agentflow_sdk.convert.answers import record
from agentflow_sdk.convert.json_values import from_json
from agentflow_sdk.errors import (
    AbortedError,
    AgentFlowError,
    CancelledError,
    DeadlineExceededError,
    InternalError,
    ResourceExhaustedError,
    UnavailableError,
)
from agentflow_sdk.models.workflows import RunEvent, Token
from agentflow_sdk.transport.retry import RetryPolicy

_DROPPED: Final = (AbortedError, CancelledError, InternalError)
_BACKOFF: Final = RetryPolicy(initial_s=0.1, delay_s_max=3.0)


class Patience:
    """Says how to go on after a failure of something that may take long: a watch, a wait.

    Args:
        run_id: The run, for messages.
        now_s: The present time.
        timeout_s: The time for the whole; None for no end.
        patience_s: The time that no server may be reachable before the last error is raised.
    """

    def __init__(self, run_id: str, *, now_s: float, timeout_s: float | None, patience_s: float) -> None:
        self._run_id = run_id
        self._end_s = None if timeout_s is None else now_s + timeout_s
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._failures = 0
        self._progress_s = now_s

    def answered(self, now_s: float) -> None:
        """Notes that a server has answered."""
        self._failures, self._progress_s = 0, now_s

    def remaining_s(self, now_s: float) -> float | None:
        """Returns the seconds that are left; None for no end. Raises DeadlineExceededError when the time is over."""
        if self._end_s is None:
            return None
        if now_s >= self._end_s:
            raise DeadlineExceededError(f"run {self._run_id} was still under way after {self._timeout_s:g} s")
        return self._end_s - now_s

    def pause_s(self, error: AgentFlowError, now_s: float, fraction: float) -> float:
        """Returns the seconds to wait before the next connection. Raises the error if there should be none."""
        if isinstance(error, DeadlineExceededError) and self._end_s is not None:
            self.remaining_s(max(now_s, self._end_s))
        again = (
            isinstance(error, UnavailableError)
            or (isinstance(error, ResourceExhaustedError) and error.retry_after_s is not None)
            or (isinstance(error, _DROPPED) and not error.kind)  # with a kind it is the server's answer, not a drop
        )
        if not again or now_s - self._progress_s > self._patience_s:
            raise error
        self._failures += 1
        wait_s = max(_BACKOFF.backoff(self._failures, fraction), min(error.retry_after_s or 0.0, 30.0))
        remaining_s = self.remaining_s(now_s)
        return wait_s if remaining_s is None else min(wait_s, remaining_s)


class WatchState:
    """One watch from its start to the end of the run, or of a chain of runs, across reconnects.

    Events carry the log's sequence, and their part of it: a reconnect resumes after the newest one seen, and a repeated
    one is dropped.
    Tokens are ephemeral; those that a reconnect repeats are recognised by their offset in the step's answer.

    Args:
        request: The first request: the run, the last event that was seen before, and whether tokens are wanted.
        now_s: The present time.
        timeout_s: The time for the whole watch; None for no end.
        patience_s: The time that no server may be reachable before the last error is raised.
    """

    def __init__(
        self, request: workflow_pb2.WatchRunRequest, *, now_s: float, timeout_s: float | None, patience_s: float
    ) -> None:
        self.finished = False
        self._request = copy.deepcopy(request)
        self._patience = Patience(request.run_id, now_s=now_s, timeout_s=timeout_s, patience_s=patience_s)
        self._offsets: dict[tuple[str, int], int] = {}

    def request(self) -> workflow_pb2.WatchRunRequest:
        """Returns the request that continues after the last event that was seen."""
        return self._request

    def remaining_s(self, now_s: float) -> float | None:
        """Returns the seconds that are left; None for no end. Raises DeadlineExceededError when the time is over."""
        return self._patience.remaining_s(now_s)

    def accept(self, response: Any, now_s: float) -> list[RunEvent | Token]:
        """Returns the items of a message that were not seen before."""
        self._patience.answered(now_s)
        found: list[RunEvent | Token] = []
        for item in _items(response):
            if self._is_new(item):
                found.append(item)
            if self.finished:
                break
        return found

    def _is_new(self, item: RunEvent | Token) -> bool:
        if isinstance(item, RunEvent):
            if (item.sequence, item.part) <= (self._request.after_sequence, self._request.after_part):
                return False
            self._request.after_sequence, self._request.after_part = item.sequence, item.part
            self.finished = item.status.is_final
            following = item.body.get("continued_as") if self.finished and self._request.follow_chain else ""
            if following:  # the same answer may go on with it; a reconnect begins there
                self._request.run_id, self.finished = str(following), False
                self._offsets.clear()
        else:
            where = (item.step, item.attempt)
            if item.offset < self._offsets.get(where, 0):
                return False
            self._offsets[where] = item.offset + max(1, len(item.text))
        return True

    def pause_s(self, error: AgentFlowError, now_s: float, fraction: float) -> float:
        """Returns the seconds to wait before the next connection. Raises the error if there should be none."""
        return self._patience.pause_s(error, now_s, fraction)


def _items(message: Any) -> list[RunEvent | Token]:
    """Returns the items of a message; none of one that this SDK does not know."""
    kind = message.WhichOneof("item")
    if kind == "token":
        return [record(Token, message.token)]
    if kind == "event":
        return [record(RunEvent, message.event)]
    return [_compact(event) for event in message.events]


def _compact(message: Any) -> RunEvent:
    return dataclasses.replace(record(RunEvent, message), body=from_json(message.body_json))
