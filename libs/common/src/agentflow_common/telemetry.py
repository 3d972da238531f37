"""Structured logs, and OpenTelemetry spans whose context rides in the events. Metrics are in the room `metrics`.

No payload is ever logged: logs carry ids, types, counts and durations.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import random
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from agentflow_common import json_values
from agentflow_common.settings import Settings

_context: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("agentflow_log_context", default=None)
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What the platform's own code logs holds no payload. Libraries quote URLs, requests and documents: only their warnings
# pass, and of those that read documents not even these.
_OURS: Final = tuple(
    f"agentflow_{name}" for name in ("common", "gateway", "scheduler", "worker", "cost", "security", "prompt", "trace")
)
_QUOTING: Final = ("pypdf", "charset_normalizer", "bs4")
_state: dict[str, Any] = {"service": "", "tracer": None, "provider": None, "from_log": False}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, service, logger, message, then the ids in scope and the `extra` fields."""

    def format(self, record: logging.LogRecord) -> str:
        body: dict[str, Any] = {
            "ts": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "service": _state["service"],
            "logger": record.name,
            "message": record.getMessage(),
            **(_context.get() or {}),
        }
        body |= {k: v for k, v in vars(record).items() if k not in _STANDARD}
        if record.exc_info and record.exc_info[0] is not None:
            # type and place only: an exception's text may quote a payload
            body["error"] = record.exc_info[0].__name__
            body["where"] = _where(record.exc_info[2])
        try:
            return msgspec.json.encode(body, enc_hook=str).decode()
        except UnicodeEncodeError:
            return msgspec.json.encode(json_values.escaped_all(body), enc_hook=str).decode()


def _where(tb: Any) -> list[str]:
    frames = []
    while tb is not None:
        code = tb.tb_frame.f_code
        frames.append(f"{os.path.basename(code.co_filename)}:{tb.tb_lineno} {code.co_name}")  # noqa: PTH119
        tb = tb.tb_next
    return frames[-8:]


def setup(service: str, settings: Settings) -> None:
    """Logs to stderr, and spans to the OTLP endpoint if one is set. Call once, first thing in `__main__`.

    The log level is for AgentFlow's own code; libraries log from WARNING on.
    """
    _state["service"] = service
    _state["from_log"] = bool(settings.trace_export)
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(settings.log_level.upper())
    for name in _QUOTING:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if settings.otlp_endpoint:
        _start_tracing(service, settings.otlp_endpoint)


def _start_tracing(service: str, endpoint: str) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"agentflow-{service}"}))
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    _state["provider"] = provider
    _state["tracer"] = provider.get_tracer("agentflow")


def from_log() -> bool:
    """True if the spans of runs, steps and model calls are made from the log, so that services must not repeat them."""
    return bool(_state["from_log"])


def shutdown() -> None:
    """Sends the spans that are still buffered."""
    if _state["provider"] is not None:
        _state["provider"].shutdown()


@contextlib.contextmanager
def log_context(**ids: Any) -> Iterator[None]:
    """Adds org, run, step ... to every log line of this task."""
    token = _context.set({**(_context.get() or {}), **{k: v for k, v in ids.items() if v}})
    try:
        yield
    finally:
        _context.reset(token)


def new_traceparent() -> str:
    """Returns a fresh W3C traceparent (version 00, sampled)."""
    return f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-01"


def trace_id(traceparent: str) -> str:
    """Returns the 32 hex digits of a traceparent, or the empty string."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""


class Span:
    """The context that `span` yields: `traceparent` goes into the next hop's message or event."""

    __slots__ = ("_span", "failed", "traceparent")

    def __init__(self, traceparent: str, inner: Any = None) -> None:
        self.traceparent = traceparent
        self._span = inner
        self.failed = False

    def set(self, **attributes: Any) -> None:
        if self._span is not None:
            for key, value in attributes.items():
                self._span.set_attribute(key.replace("__", "."), value)

    def fail(self, kind: str) -> None:
        """Marks the span as failed. kind: a stable name; no text of an error, which may quote a payload."""
        self.failed = True
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_attribute("error.type", kind)
            self._span.set_status(Status(StatusCode.ERROR))


def span(
    name: str, parent: str = "", kind: str = "internal", **attributes: Any
) -> contextlib.AbstractContextManager[Span]:
    """Yields a span under the remote `parent` traceparent. Without an exporter nothing is recorded."""
    if _state["tracer"] is None:
        return contextlib.nullcontext(Span(parent or new_traceparent()))
    return _recorded(name, parent, kind, attributes)


@contextlib.contextmanager
def _recorded(name: str, parent: str, kind: str, attributes: dict[str, Any]) -> Iterator[Span]:
    from opentelemetry import trace as otel
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    context = propagator.extract({"traceparent": parent}) if parent else None
    kinds = {"internal": otel.SpanKind.INTERNAL, "server": otel.SpanKind.SERVER, "client": otel.SpanKind.CLIENT,
             "producer": otel.SpanKind.PRODUCER, "consumer": otel.SpanKind.CONSUMER}  # fmt: skip
    clean = {k.replace("__", "."): v for k, v in attributes.items() if v is not None}
    with _state["tracer"].start_as_current_span(
        name,
        context=context,
        kind=kinds[kind],
        attributes=clean,
        record_exception=False,
        set_status_on_exception=False,  # it would quote the error's text
    ) as inner:
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
        found = Span(carrier.get("traceparent", parent), inner)
        try:
            yield found
        except BaseException as error:
            if not found.failed:
                found.fail(_kind_of(error))
            raise


def _kind_of(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    kind = getattr(error, "kind", "")
    return kind if isinstance(kind, str) and kind else type(error).__name__
