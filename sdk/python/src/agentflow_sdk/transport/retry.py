"""The rules by which a failed call is repeated. Pure: the clock and the random number are arguments."""

from __future__ import annotations

from dataclasses import dataclass

from agentflow_sdk.errors import AgentFlowError, CancelledError, ResourceExhaustedError, UnavailableError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter, bounded by the number of attempts and by the call's deadline."""

    attempts_max: int = 5
    """The most attempts, including the first one; 1 turns retries off."""
    initial_s: float = 0.1
    """Seconds before the second attempt."""
    multiplier: float = 2.0
    """The factor by which each delay is longer than the one before."""
    delay_s_max: float = 5.0
    """Seconds of the longest delay."""
    server_delay_s_max: float = 60.0
    """The most seconds that the client waits if the server asks for a longer delay than its own."""

    def delay(
        self, error: AgentFlowError, attempt: int, remaining_s: float, fraction: float, *, repeatable: bool = True
    ) -> float | None:
        """Returns the delay before the next attempt.

        Args:
            error: The error of the last attempt. This client never cancels a call. A call is cancelled only because the
                server was stopping.
            attempt: The number of attempts so far, from 1.
            remaining_s: Seconds until the call's deadline.
            fraction: A random number from 0 to 1.
            repeatable: False for a call that takes effect twice if it is sent twice. It is repeated only if the server
                asks for it, which means that the server had accepted nothing.

        Returns:
            Seconds to wait, or None if the error must be raised.
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
        """Returns between half and the whole of the exponential delay, so that many clients do not retry at once.

        Args:
            attempt: The number of attempts so far, from 1.
            fraction: A random number from 0 to 1.

        Returns:
            Seconds to wait.
        """
        step = min(self.delay_s_max, self.initial_s * self.multiplier ** min(attempt - 1, 30))
        return step * (0.5 + fraction / 2)


NO_RETRY = RetryPolicy(attempts_max=1)
