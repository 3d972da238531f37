"""Refusals as the gateway sends them."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.rpc import error_details_pb2, status_pb2

from agentflow_sdk.errors import STATUS_DETAILS_KEY
from agentflow_sdk.problems import Problem


def status_details(
    code: grpc.StatusCode,
    message: str,
    *,
    problems: tuple[Problem, ...] = (),
    kind: str = "",
    retry_after_s: float | None = None,
) -> bytes:
    """Returns a serialised `google.rpc.Status` as the gateway sends it in `grpc-status-details-bin`.

    Args:
        code: The status.
        message: The message of the error.
        problems: The problems that the error lists.
        kind: The stable name for the reason.
        retry_after_s: Seconds that the client is asked to wait before it tries again; None for no such hint.

    Returns:
        The bytes for the trailing metadata.
    """
    status = status_pb2.Status(code=code.value[0], message=message)
    if kind:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=kind, domain="agentflow"))
    if problems:
        bad = error_details_pb2.BadRequest()
        for problem in problems:
            violation = bad.field_violations.add(field=problem.place, description=problem.message)
            violation.localized_message.message = problem.fix
        status.details.add().Pack(bad)
    if retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(retry_after_s * 1000))
        status.details.add().Pack(retry)
    return bytes(status.SerializeToString())


def refuse(
    context: Any, code: grpc.StatusCode, message: str, *, kind: str = "", problems: tuple[Problem, ...] = ()
) -> NoReturn:
    """Ends a call with an error."""
    details = status_details(code, message, kind=kind, problems=problems)
    context.set_trailing_metadata(((STATUS_DETAILS_KEY, details),))
    context.abort(code, message)
    raise AssertionError("abort never returns")
