"""Turns an error into a gRPC status with google.rpc details: BadRequest, ErrorInfo, RetryInfo."""

from __future__ import annotations

import logging
import os
from typing import Any, Final

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from agentflow_common.connections import transient
from agentflow_common.errors import AgentFlowError

log = logging.getLogger(__name__)

# gRPC peers accept 8 KiB of trailing metadata; base64 adds a third, and the message travels twice.
MESSAGE_CHARS_MAX: Final = 700
DETAILS_BYTES_MAX: Final = 3500
FIELD_CHARS_MAX: Final = 300
DOMAIN: Final = "agentflow"


def for_client(error: BaseException) -> AgentFlowError:
    """Returns the AgentFlowError that the client gets for an exception. An unforeseen one is logged under an id."""
    if isinstance(error, AgentFlowError):
        if error.code == "unavailable" and error.retry_after_ms is None:
            error.retry_after_ms = transient.RETRY_AFTER_MS
        return error
    passing = transient.as_retryable(error)
    if passing is not None:
        return passing
    incident = os.urandom(6).hex()
    log.error("unexpected error", exc_info=error, extra={"incident": incident})
    return AgentFlowError(f"an unexpected error; the gateway's log has it as incident {incident}", kind="internal")


def to_status(error: AgentFlowError) -> grpc.Status:
    """Returns the status code, message and details, bounded so that peers accept the trailers."""
    plain = rpc_status.to_status(_rich(error))
    if error.retry_after_ms is None:
        return plain
    # for clients that can't read the details: whole seconds, as in HTTP
    after = ("retry-after", str(-(-error.retry_after_ms // 1000)))
    return plain._replace(trailing_metadata=(*plain.trailing_metadata, after))


def to_details(error: AgentFlowError) -> bytes:
    """Returns the status as one of several results has it: a serialised `google.rpc.Status`."""
    return bytes(_rich(error).SerializeToString())


def _rich(error: AgentFlowError) -> status_pb2.Status:
    code = grpc.StatusCode[error.code.upper()]
    status = status_pb2.Status(code=code.value[0], message=_clip(error.message, MESSAGE_CHARS_MAX))
    _add(status, error_details_pb2.ErrorInfo(reason=error.kind, domain=DOMAIN))
    if error.retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        _add(status, retry)
    if error.problems:
        _add(status, _bad_request(error, DETAILS_BYTES_MAX - status.ByteSize()))
    return status


def _bad_request(error: AgentFlowError, bytes_max: int) -> error_details_pb2.BadRequest:
    """Returns the problems: `field` is the place, `description` the fault, `localized_message` the fix."""
    bad = error_details_pb2.BadRequest()
    for number, problem in enumerate(error.problems):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_clip(problem.place, FIELD_CHARS_MAX), description=_clip(problem.message, FIELD_CHARS_MAX)
        )
        if problem.fix:
            violation.localized_message.locale = "en"
            violation.localized_message.message = _clip(problem.fix, FIELD_CHARS_MAX)
        if bad.ByteSize() + violation.ByteSize() > bytes_max - 100:
            left = len(error.problems) - number
            bad.field_violations.add(field="", description=f"and {left} more; fix these first")
            break
        bad.field_violations.append(violation)
    return bad


def _add(status: Any, detail: Any) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _clip(text: str, chars_max: int) -> str:
    """Returns the text printable and bounded. The message is percent-encoded on the wire."""
    clean = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    return clean if len(clean) <= chars_max else clean[: chars_max - 3] + "..."
