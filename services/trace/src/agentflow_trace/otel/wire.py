"""Spans as the messages of OTLP. Pure.

Source: https://opentelemetry.io/docs/specs/otlp/ and the messages of opentelemetry-proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as pb

from agentflow_common import __version__
from agentflow_trace.otel import genai, spans

SERVICE: Final = "agentflow"
SCOPE: Final = "agentflow.log"
_KINDS: Final = {
    spans.INTERNAL: pb.Span.SpanKind.SPAN_KIND_INTERNAL,
    spans.CLIENT: pb.Span.SpanKind.SPAN_KIND_CLIENT,
}


def request_of(found: Iterable[spans.Span]) -> ExportTraceServiceRequest:
    """Returns the export of these spans, byte for byte the same for the same spans."""
    return ExportTraceServiceRequest(
        resource_spans=[
            pb.ResourceSpans(
                resource=Resource(attributes=[_attribute("service.name", SERVICE)]),
                scope_spans=[
                    pb.ScopeSpans(
                        scope=InstrumentationScope(name=SCOPE, version=__version__),
                        spans=[_span(span) for span in found],
                    )
                ],
            )
        ]
    )


def _span(span: spans.Span) -> pb.Span:
    attributes = [_attribute(name, value) for name, value in sorted(span.attributes.items())]
    status = pb.Status()
    if span.error_type:
        attributes.append(_attribute(genai.ERROR_TYPE, span.error_type))
        status = pb.Status(code=pb.Status.StatusCode.STATUS_CODE_ERROR)
    return pb.Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_id,
        name=_text(span.name),
        kind=_KINDS[span.kind],
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=attributes,
        status=status,
    )


def _attribute(name: str, value: spans.Value) -> KeyValue:
    return KeyValue(key=name, value=_value(value))


def _value(value: spans.Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=_text(value))
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=_text(item)) for item in value]))


def _text(text: str) -> str:
    """Returns text as UTF-8 can hold it."""
    return text.encode("utf-8", "backslashreplace").decode()
