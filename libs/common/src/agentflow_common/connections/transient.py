"""Transient errors: a server is away, restarts, fails over, or has no room at the moment.

They are listed here only. `TRANSIENT` is for `except` and `suppress`. `as_retryable` makes the error that the caller
gets.
"""

from __future__ import annotations

import logging
from typing import Final

import asyncpg
from asyncpg.exceptions import _base as client_errors

from agentflow_common.errors import AgentFlowError, RetryableError
from agentflow_common.log.transient import NATS

log = logging.getLogger(__name__)

RETRY_AFTER_MS: Final = 500

DATABASE: Final[tuple[type[Exception], ...]] = (
    asyncpg.PostgresConnectionError,  # 08: the connection broke
    asyncpg.OperatorInterventionError,  # 57: it stops, crashed, starts, or cancelled the query
    asyncpg.InsufficientResourcesError,  # 53: no disk, no memory, too many connections
    asyncpg.TransactionRollbackError,  # 40: a deadlock, a conflict
    asyncpg.PostgresSystemError,  # 58: the operating system failed it
    asyncpg.InvalidAuthorizationSpecificationError,  # 28: credentials that are being changed
    asyncpg.ReadOnlySQLTransactionError,  # it has become a standby
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidCachedStatementError,  # its tables changed; a new statement follows
    asyncpg.InterfaceError,  # the client: connection closed, pool closing; but see BAD_VALUE
    asyncpg.InternalClientError,  # the client: an answer to a query that is gone
)
TRANSIENT: Final[tuple[type[Exception], ...]] = (*DATABASE, *NATS, RetryableError, OSError, TimeoutError)
BAD_VALUE: Final[tuple[type[Exception], ...]] = (asyncpg.DataError, client_errors.DataError)
"""Errors of the database, or its driver, about values that no table can hold."""
SURVIVED: Final[tuple[type[Exception], ...]] = (*TRANSIENT, AgentFlowError, asyncpg.PostgresError)
"""Errors that a loop which follows the log survives: it reports them to readiness and tries again."""


def is_transient(error: BaseException) -> bool:
    """True if the same call may succeed later."""
    return isinstance(error, TRANSIENT) and not isinstance(error, BAD_VALUE)


def as_retryable(error: BaseException) -> RetryableError | None:
    """Returns the error for the caller, with a time to try again. Returns None if the error is not transient."""
    if isinstance(error, RetryableError):
        return error
    if not is_transient(error):
        return None
    log.warning("a server is not reachable", extra={"error": type(error).__name__})
    if isinstance(error, NATS):
        return RetryableError(
            "the event log is not reachable; try again", kind="log_unavailable", retry_after_ms=RETRY_AFTER_MS
        )
    if isinstance(error, TimeoutError):
        return RetryableError(
            "a backend did not answer in time; try again", kind="backend_timeout", retry_after_ms=RETRY_AFTER_MS
        )
    return RetryableError(
        "the database is not reachable; try again", kind="database_unavailable", retry_after_ms=RETRY_AFTER_MS
    )
