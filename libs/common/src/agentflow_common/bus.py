"""Request/reply over NATS: FastStream serves, a typed `call` asks. Fact streams go through `pull.py` instead."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client

from agentflow_common import jsonvalues, telemetry
from agentflow_common.errors import (
    UNREADABLE,
    AgentFlowError,
    DeadlineError,
    ErrorBody,
    InvalidError,
    RetryableError,
    from_body,
    to_body,
)
from agentflow_common.rpc import Verb

if TYPE_CHECKING:
    from faststream.nats import NatsBroker, NatsMessage

log = logging.getLogger(__name__)

Reply = TypeVar("Reply")
CONCURRENCY_MAX: Final = 64  # handlers of one verb at once in one process; more wait in the subscription
RPC_BYTES_MAX: Final = 7 * 1024 * 1024  # below the server's max_payload of 8 MiB
_encoder: Final = msgspec.json.Encoder()

Handler = Callable[[Any], Awaitable[Any]]
Route = tuple[Verb[Any], Handler]


async def call(
    nc: Client, verb: Verb[Reply], request: Any, *, trace: str = "", timeout_s: float | None = None
) -> Reply:
    """Asks a service. Raises the AgentFlowError that it answered, RetryableError if nobody serves the verb,
    DeadlineError if no answer came in time (`retryable`: every verb may be asked again)."""
    try:
        data = _encoder.encode(request)
    except (ValueError, TypeError, RecursionError) as error:  # a lone surrogate, what is not JSON
        text = jsonvalues.escaped(str(error)[:120])
        raise InvalidError(f"{verb.subject}: the request is not JSON: {text}", kind="not_json") from error
    if len(data) > RPC_BYTES_MAX:
        raise InvalidError(
            f"{verb.subject}: the request is {len(data):,} bytes, the limit is {RPC_BYTES_MAX:,}", kind="too_large"
        )
    headers = {"traceparent": trace} if trace else None
    limit = timeout_s or verb.timeout_s
    with telemetry.span(f"call {verb.service}.{verb.name}", trace, "client") as span:
        if headers:
            headers["traceparent"] = span.traceparent
        try:
            msg = await nc.request(verb.subject, data, timeout=limit, headers=headers)
        except nats.errors.NoRespondersError as error:
            raise RetryableError(f"the {verb.service} service is not running", kind="service_unavailable") from error
        except (nats.errors.TimeoutError, TimeoutError) as error:
            raise DeadlineError(
                f"{verb.service}.{verb.name} did not answer in {limit:g} s", kind="rpc_timeout"
            ) from error
    answer = msgspec.json.decode(msg.data, type=_answer_type(verb.reply))
    if answer.error is not None:
        raise from_body(answer.error)
    reply: Reply = answer.ok
    return reply


_types: dict[type[Any], type[Any]] = {}


def _answer_type(reply: type[Any]) -> type[Any]:
    if reply not in _types:
        _types[reply] = msgspec.defstruct("Answer", [("ok", reply | None, None), ("error", ErrorBody | None, None)])
    return _types[reply]


@contextlib.asynccontextmanager
async def serving(url: str, service: str, routes: Sequence[Route]) -> AsyncIterator[NatsBroker]:
    """Answers the verbs, shared with the other processes of the service (queue group), until the block ends."""
    from faststream.nats import NatsBroker  # 0.3 s of start-up that those who only call need not pay

    broker = NatsBroker(url, max_reconnect_attempts=-1, reconnect_time_wait=1, logger=None, apply_types=False)
    for verb, handler in routes:
        subscriber = broker.subscriber(verb.subject, queue=f"af-{service}", max_workers=CONCURRENCY_MAX, decoder=_whole)
        subscriber(_endpoint(verb, handler))
    async with broker:
        await broker.start()
        connection = await broker.connect()
        for _ in range(2):  # who is ready answers; nats-py's first PING overtakes what is pending, a second does not
            await connection.flush()
        yield broker


def _endpoint(verb: Verb[Any], handler: Handler) -> Callable[[NatsMessage], Awaitable[bytes]]:
    decoder = msgspec.json.Decoder(verb.request)

    async def answer(message: NatsMessage) -> bytes:
        began = time.perf_counter()
        status = "ok"
        parent = str((message.headers or {}).get("traceparent", ""))
        with telemetry.span(f"{verb.service}.{verb.name}", parent, "server"):
            try:
                request = decoder.decode(message.body)
                with telemetry.log_context(
                    org=getattr(request, "org", ""), run=getattr(request, "run", ""),
                    step=getattr(request, "step", ""), trace=telemetry.trace_id(parent),
                ):  # fmt: skip
                    reply = _encoder.encode({"ok": await handler(request)})
                if len(reply) > RPC_BYTES_MAX:
                    raise InvalidError(f"the answer is {len(reply):,} bytes, the limit is {RPC_BYTES_MAX:,}")
            except UNREADABLE as error:
                status = "invalid_argument"
                reply = _encoder.encode({"error": to_body(InvalidError(f"{verb.subject}: {error}"))})
            except AgentFlowError as error:
                status = error.code
                reply = _encoder.encode({"error": to_body(error)})
            except Exception as error:
                status = "internal"
                log.exception("%s failed", verb.subject)
                body = ErrorBody("internal", type(error).__name__, f"{verb.service} failed; see its log", True)
                reply = _encoder.encode({"error": body})
        telemetry.RPC_SECONDS.labels(f"{verb.service}.{verb.name}", status).observe(time.perf_counter() - began)
        return reply

    return answer


async def _whole(message: NatsMessage) -> NatsMessage:
    """Hands the handler the message itself: msgspec decodes the body, by the verb's type."""
    return message
