"""Request/reply over NATS: FastStream serves (or `answering`, beside other work), a typed `call` asks.

Facts go through log/consumers.py instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from agentflow_common import json_values, subjects, tasks, telemetry
from agentflow_common.connections import nats_client
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
from agentflow_common.metrics import calls
from agentflow_common.rpc.verbs import Verb

if TYPE_CHECKING:
    from faststream.nats import NatsBroker, NatsMessage

log = logging.getLogger(__name__)

Reply = TypeVar("Reply")
CONCURRENCY_MAX: Final = 64  # handlers of one verb at once in one process; more wait in the subscription
RETRY_AFTER_MS: Final = 500
AWAY_S_MAX: Final = 2.0  # a question waits so long for the connection to come back
RPC_BYTES_MAX: Final = 7 * 1024 * 1024  # below the server's max_payload of 8 MiB
_UNANSWERED: Final = frozenset({"service_unavailable", "rpc_timeout", "log_unavailable"})  # kinds
_encoder: Final = msgspec.json.Encoder()

Handler = Callable[[Any], Awaitable[Any]]
Route = tuple[Verb[Any], Handler]


async def call(
    nc: Client, verb: Verb[Reply], request: Any, *, trace: str = "", timeout_s: float | None = None
) -> Reply:
    """Asks a service and returns its reply.

    Raises the AgentFlowError that it answered, RetryableError if no service serves the verb or NATS is away, and
    DeadlineError if no answer came in time. Every verb may be asked again.
    """
    began, status = time.perf_counter(), "ok"
    try:
        return await _ask(nc, verb, request, trace, timeout_s or verb.timeout_s)
    except AgentFlowError as error:
        status = error.kind if error.kind in _UNANSWERED else error.code
        raise
    except asyncio.CancelledError:
        status = "cancelled"
        raise
    finally:
        name = f"{verb.service}.{verb.name}"
        calls.RPC_CALL_SECONDS.labels(name, status).observe(time.perf_counter() - began)


async def _ask(nc: Client, verb: Verb[Reply], request: Any, trace: str, limit: float) -> Reply:
    try:
        data = _encoder.encode(request)
    except (ValueError, TypeError, RecursionError) as error:  # a lone surrogate, what is not JSON
        text = json_values.escaped(str(error)[:120])
        raise InvalidError(f"{verb.subject}: the request is not JSON: {text}", kind="not_json") from error
    if len(data) > RPC_BYTES_MAX:
        raise InvalidError(
            f"{verb.subject}: the request is {len(data):,} bytes, the limit is {RPC_BYTES_MAX:,}", kind="too_large"
        )
    headers = {"traceparent": trace} if trace else None
    with telemetry.span(f"call {verb.service}.{verb.name}", trace, "client") as span:
        if headers:
            headers["traceparent"] = span.traceparent
        try:
            await _connected(nc, min(limit, AWAY_S_MAX))
            msg = await nc.request(verb.subject, data, timeout=limit, headers=headers)
        except nats.errors.NoRespondersError as error:
            raise RetryableError(
                f"the {verb.service} service is not running",
                kind="service_unavailable",
                retry_after_ms=RETRY_AFTER_MS,
            ) from error
        except (nats.errors.TimeoutError, TimeoutError) as error:
            raise DeadlineError(
                f"{verb.service}.{verb.name} did not answer in {limit:g} s",
                kind="rpc_timeout",
                retry_after_ms=RETRY_AFTER_MS,
            ) from error
        except nats.errors.Error as error:
            raise RetryableError(
                "NATS is not reachable; try again", kind="log_unavailable", retry_after_ms=RETRY_AFTER_MS
            ) from error
    answer = msgspec.json.decode(msg.data, type=_answer_type(verb.reply))
    if answer.error is not None:
        raise from_body(answer.error)
    reply: Reply = answer.ok
    return reply


async def _connected(nc: Client, wait_s: float) -> None:
    """Returns once there is a server; nats-py would keep the question and let the asker wait for all of its time."""
    deadline = time.monotonic() + wait_s
    while nc.is_reconnecting:
        if time.monotonic() > deadline:
            raise nats.errors.ConnectionReconnectingError
        await asyncio.sleep(0.02)


_types: dict[type[Any], type[Any]] = {}


def _answer_type(reply: type[Any]) -> type[Any]:
    if reply not in _types:
        _types[reply] = msgspec.defstruct("Answer", [("ok", reply | None, None), ("error", ErrorBody | None, None)])
    return _types[reply]


@contextlib.asynccontextmanager
async def serving(
    url: str,
    service: str,
    routes: Sequence[Route],
    token: str = "",
    closed: Callable[[], None] | None = None,
) -> AsyncIterator[NatsBroker]:
    """Answers the verbs, shared with the other processes of the service (queue group), until the block ends.

    token: this process alone answers questions on `subjects.rpc_self(service, token)`. closed: called when the
    connection has ended for good.
    """
    broker = _broker(url, service, closed)
    for verb, handler in routes:
        subscriber = broker.subscriber(verb.subject, queue=f"af-{service}", max_workers=CONCURRENCY_MAX, decoder=_whole)
        subscriber(_endpoint(_answerer(verb, handler)))
    if token:
        broker.subscriber(subjects.rpc_self(service, token), decoder=_whole)(_here)
    async with broker:
        await broker.start()
        connection = await broker.connect()
        for _ in range(2):  # who is ready answers; nats-py's first PING overtakes what is pending, a second does not
            await connection.flush()
        yield broker


@contextlib.asynccontextmanager
async def answering(nc: Client, service: str, routes: Sequence[Route]) -> AsyncIterator[None]:
    """Answers the verbs as `serving` does, on a connection that a service has for other work, until the block ends.

    It is for services that are rarely asked: FastStream would cost each of their starts 0.3 s.
    """
    running: set[asyncio.Task[None]] = set()

    def callback(verb: Verb[Any], handler: Handler) -> Callable[[Msg], Awaitable[None]]:
        answer = _answerer(verb, handler)
        busy: set[asyncio.Task[None]] = set()

        async def respond(msg: Msg) -> None:
            reply = await answer(msg.data, msg.headers or {})
            with contextlib.suppress(nats.errors.Error):  # who asked will ask again
                await msg.respond(reply)

        async def take(msg: Msg) -> None:
            if len(busy) >= CONCURRENCY_MAX:
                await respond(msg)
                return
            task = asyncio.create_task(respond(msg))
            for tasks_ in (busy, running):
                tasks_.add(task)
                task.add_done_callback(tasks_.discard)

        return take

    found = [
        await nc.subscribe(verb.subject, queue=f"af-{service}", cb=callback(verb, handler)) for verb, handler in routes
    ]
    try:
        yield
    finally:
        for subscription in found:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
        await tasks.stop(list(running))


def _broker(url: str, service: str, closed: Callable[[], None] | None) -> NatsBroker:
    """Returns FastStream's broker on a connection of `natsclient`. FastStream's own connection knows the credentials of
    one URL only, and stops coming back when a server refuses it."""
    from faststream.nats import NatsBroker  # 0.3 s of start-up that those who only call need not pay

    class Broker(NatsBroker):
        async def _connect(self) -> Client:
            connection = await nats_client.connect(url, f"agentflow-{service}-rpc", closed)
            self.config.connect(connection)
            return connection

        async def stop(
            self,
            exc_type: type[BaseException] | None = None,
            exc_val: BaseException | None = None,
            exc_tb: TracebackType | None = None,
        ) -> None:
            connection = self._connection
            if connection is not None and connection.is_closed:
                for subscriber in self.subscribers:
                    setattr(subscriber, "subscription", None)  # noqa: B010  (gone with the connection; not typed)
            try:
                await super().stop(exc_type, exc_val, exc_tb)
            except (nats.errors.Error, ExceptionGroup) as error:  # the server is gone
                log.debug("the broker could not take leave", exc_info=error)
            if connection is not None and not connection.is_closed:
                await connection.close()
            self._connection = None

    return Broker(logger=None, apply_types=False)


async def _here(_message: NatsMessage) -> bytes:
    return b""


def _endpoint(
    answer: Callable[[bytes, Mapping[str, Any]], Awaitable[bytes]],
) -> Callable[[NatsMessage], Awaitable[bytes]]:
    async def endpoint(message: NatsMessage) -> bytes:
        return await answer(message.body, message.headers or {})

    return endpoint


def _answerer(verb: Verb[Any], handler: Handler) -> Callable[[bytes, Mapping[str, Any]], Awaitable[bytes]]:
    from agentflow_common.connections import transient  # with the drivers, which those who only call need not load

    decoder = msgspec.json.Decoder(verb.request)
    name = f"{verb.service}.{verb.name}"
    active = calls.RPC_ACTIVE.labels(name)

    async def answer(data: bytes, headers: Mapping[str, Any]) -> bytes:
        began = time.perf_counter()
        body: ErrorBody | None = None
        parent = str(headers.get("traceparent", ""))
        with active.track_inprogress(), telemetry.span(name, parent, "server"):
            try:
                request = decoder.decode(data)
                with telemetry.log_context(
                    org=getattr(request, "org", ""), run=getattr(request, "run", ""),
                    step=getattr(request, "step", ""), trace=telemetry.trace_id(parent),
                ):  # fmt: skip
                    reply = _encoder.encode({"ok": await handler(request)})
                if len(reply) > RPC_BYTES_MAX:
                    raise InvalidError(f"the answer is {len(reply):,} bytes, the limit is {RPC_BYTES_MAX:,}")
            except UNREADABLE as error:
                body = to_body(InvalidError(f"{verb.subject}: {error}"))
            except AgentFlowError as error:
                body = to_body(error)
            except Exception as error:
                known = transient.as_retryable(error)
                if known is not None:
                    body = to_body(known)
                else:
                    log.exception("%s failed", verb.subject)
                    body = ErrorBody("internal", type(error).__name__, f"{verb.service} failed; see its log", True)
            if body is not None:
                reply = _encoder.encode({"error": body})
        status = "ok" if body is None else body.code
        calls.RPC_SECONDS.labels(name, status).observe(time.perf_counter() - began)
        return reply

    return answer


async def _whole(message: NatsMessage) -> NatsMessage:
    """Hands the handler the message itself: msgspec decodes the body, by the verb's type."""
    return message
