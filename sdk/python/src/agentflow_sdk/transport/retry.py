"""When a failed call is worth repeating, and after how long. Pure: the clock and the random number are arguments."""

from __future__ import annotations

from dataclasses import dataclass

from agentflow_sdk.errors import AgentFlowError, CancelledError, ResourceExhaustedError, UnavailableError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter, bounded by attempts and by the call's deadline.

    attempts_max: calls in all, 1 turns retries off. Delays in seconds. A delay that the server asks for (`RetryInfo`)
    is a lower bound, cut at `server_delay_s_max` so that no server can park a client for long.
    """

    attempts_max: int = 5
    initial_s: float = 0.1
    multiplier: float = 2.0
    delay_s_max: float = 5.0
    server_delay_s_max: float = 60.0

    def delay(
        self, error: AgentFlowError, attempt: int, remaining_s: float, fraction: float, *, repeatable: bool = True
    ) -> float | None:
        """Seconds to wait before the next call, or None if the error must be raised.

        attempt: calls made so far, from 1. remaining_s: left of the deadline. fraction: random in [0, 1).
        repeatable: False for a call that takes effect twice when sent twice. Then only an explicit invitation of the
        server (RetryInfo: it had accepted nothing) allows another. A call that the server cancels met a server that was
        stopping: this client never cancels one.
        """
        if attempt >= self.attempts_max:
            return None
        invited = error.retry_after_s is not None
        if isinstance(error, ResourceExhaustedError):
            if not invited:
                return None  # a spent budget stays spent
        elif not isinstance(error, UnavailableError | CancelledError) or not (repeatable or invited):
            return None
        wait_s = self.backoff(attempt, fraction)
        if error.retry_after_s is not None:
            wait_s = max(wait_s, min(error.retry_after_s, self.server_delay_s_max))
        return wait_s if wait_s < remaining_s else None

    def backoff(self, attempt: int, fraction: float) -> float:
        """Between half and the whole of the exponential step, so that clients spread but never hammer."""
        step = min(self.delay_s_max, self.initial_s * self.multiplier ** min(attempt - 1, 30))
        return step * (0.5 + fraction / 2)


NO_RETRY = RetryPolicy(attempts_max=1)
