"""The one way in: every call is authenticated, authorised, bounded, traced, measured and logged here.

Health and reflection are open. A refused caller's request is not even parsed. Errors leave as rich gRPC statuses. A
servicer's method receives the request and, instead of gRPC's context, the Call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from agentflow_common import telemetry
from agentflow_common.errors import InvalidError, OverloadedError
from agentflow_common.metrics import calls
from agentflow_gateway import auth_rules
from agentflow_gateway.api import errors
from agentflow_gateway.api.auth import Authenticator
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.gate import Gate
from agentflow_gateway.auth_rules import Identity
from agentflow_gateway.dependencies import Deps

log = logging.getLogger(__name__)

OPEN_SERVICES: Final = frozenset(
    {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection"}
)
_LONG: Final = frozenset({"WaitRun"})  # calls that wait; they have a bound of their own
_RUN_ID: Final = re.compile(r"run_[0-9a-z]{26}\Z")


class _Visit:
    """The record of one call, which ends with a metric and a log line."""

    def __init__(self, method: str, stream: bool) -> None:
        self.method = method
        self.stream = stream
        self.org = ""
        self.trace = ""
        self.run = ""
        self.kind = ""
        self.code = "OK"
        self._began = time.perf_counter()
        calls.GRPC_ACTIVE.labels(method).inc()

    def failed(self, error: BaseException) -> grpc.Status:
        cause = errors.for_client(error)
        self.code, self.kind = cause.code.upper(), cause.kind
        return errors.to_status(cause)

    def close(self) -> None:
        seconds = time.perf_counter() - self._began
        calls.GRPC_ACTIVE.labels(self.method).dec()
        calls.GRPC_REQUESTS.labels(self.method, self.code).inc()
        (calls.GRPC_STREAM_SECONDS if self.stream else calls.GRPC_SECONDS).labels(self.method).observe(seconds)
        extra = {"method": self.method, "code": self.code, "ms": round(seconds * 1000, 1), "org": self.org}
        extra |= {k: v for k, v in (("run", self.run), ("trace", self.trace), ("kind", self.kind)) if v}
        level = logging.INFO if self.code in {"OK", "CANCELLED"} or self.kind else logging.WARNING
        log.log(level, "call", extra=extra)


class Door(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Wraps every handler of the API's services."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._authenticator = Authenticator(deps.store.keys, deps.settings.key_cache_s)
        self._gate = Gate(_overloaded)

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        service, _, method = str(details.method).strip("/").rpartition("/")
        if handler is None or service in OPEN_SERVICES:
            return handler
        metadata = {str(k).lower(): v for k, v in details.invocation_metadata or () if isinstance(v, str)}
        visit = _Visit(method, handler.response_streaming)
        if handler.response_streaming:
            serve = self._stream(handler, visit, metadata)
            return grpc.unary_stream_rpc_method_handler(serve, None, handler.response_serializer)
        return grpc.unary_unary_rpc_method_handler(
            self._unary(handler, visit, metadata), None, handler.response_serializer
        )

    async def _authorised(self, visit: _Visit, metadata: Mapping[str, str]) -> Identity:
        """Returns the caller. Raises for an unknown key, and for a method that the key may not call."""
        identity = await self._authenticator.identify(auth_rules.bearer_key(metadata))
        visit.org = identity.org
        auth_rules.authorise(identity, visit.method, metadata.get("x-org-id", ""))
        return identity

    @contextlib.contextmanager
    def _span(self, visit: _Visit, metadata: Mapping[str, str]) -> Iterator[str]:
        """Gives the traceparent of the call's span."""
        parent = auth_rules.caller_trace(metadata)
        with telemetry.span(f"grpc {visit.method}", parent, "server", agentflow__org=visit.org) as span:
            visit.trace = telemetry.trace_id(span.traceparent)
            yield span.traceparent

    def _entered(self, method: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if method in _LONG else self._gate.entered(self._deps.settings.calls_active_max)

    def _unary(self, handler: Any, visit: _Visit, metadata: Mapping[str, str]) -> Any:
        async def serve(data: bytes, context: Any) -> Any:
            try:
                identity = await self._authorised(visit, metadata)
                with (
                    self._span(visit, metadata) as trace,
                    telemetry.log_context(org=identity.org, trace=visit.trace),
                    self._entered(visit.method),
                ):
                    call = Call(self._deps, identity, trace, _deadline(context))
                    request = _parse(handler, data)
                    visit.run = _run_of(request)
                    reply = await handler.unary_unary(request, call)
                    visit.run = visit.run or _run_of(reply)
                    return reply
            except asyncio.CancelledError:
                visit.code = "CANCELLED"
                raise
            except Exception as error:
                status = visit.failed(error)
            finally:
                visit.close()
            await context.abort(status.code, status.details, status.trailing_metadata)
            raise AssertionError("unreachable")

        return serve

    def _stream(self, handler: Any, visit: _Visit, metadata: Mapping[str, str]) -> Any:
        async def serve(data: bytes, context: Any) -> AsyncIterator[Any]:
            status: grpc.Status | None = None
            inner: Any = None
            try:
                identity = await self._authorised(visit, metadata)
                with self._span(visit, metadata) as trace:
                    call = Call(self._deps, identity, trace)
                request = _parse(handler, data)
                visit.run = _run_of(request)
                inner = handler.unary_stream(request, call)
                async for reply in inner:
                    yield reply
            except (asyncio.CancelledError, GeneratorExit):
                visit.code = "CANCELLED"
                raise
            except Exception as error:
                status = visit.failed(error)
            finally:
                if inner is not None:
                    await inner.aclose()
                visit.close()
            if status is not None:
                await context.abort(status.code, status.details, status.trailing_metadata)

        return serve


def _overloaded(text: str) -> OverloadedError:
    return OverloadedError(f"{text} calls; try again", kind="overloaded", retry_after_ms=250)


def _run_of(message: Any) -> str:
    """Returns the run that a request or an answer names, for the log line. Other texts than run ids are left out."""
    run = getattr(message, "run_id", "")
    return run if _RUN_ID.match(run) else ""


def _parse(handler: Any, data: bytes) -> Any:
    try:
        return handler.request_deserializer(data)
    except DecodeError as error:
        raise InvalidError(
            "the request is not a valid message of this method: generate the client from proto/agentflow/v1",
            kind="malformed_request",
        ) from error


def _deadline(context: Any) -> float | None:
    left = context.time_remaining()
    return None if left is None else time.monotonic() + left
