"""The export of one run: its rows as spans in the messages of OTLP, in parts of a bounded size. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from agentflow_trace import machine
from agentflow_trace.otel import spans, wire
from agentflow_trace.rows import Row
from agentflow_trace.views.answer import with_views

SPANS_MAX: Final = 2_000  # of one message: about 1 MB
_RANGE: Final = 2**64


def spans_of_run(org: str, run: str, rows: Sequence[Row], *, rooted: bool) -> list[spans.Span]:
    trace = with_views(machine.reply(run, rows), rows)
    return spans.spans_of(org, trace, rows, rooted=rooted)


def messages(found: Sequence[spans.Span]) -> Iterator[bytes]:
    """Yields the exports of these spans, the same bytes for the same spans."""
    for first in range(0, len(found), SPANS_MAX):
        yield wire.request_of(found[first : first + SPANS_MAX]).SerializeToString(deterministic=True)


def is_sampled(found: Sequence[spans.Span], ratio: float) -> bool:
    """True if a run is exported: one that failed always, the others by their trace's id.

    The low 64 bits of the id decide, as in OpenTelemetry's TraceIdRatioBased, so that all runs of a trace are kept or
    left out together.
    """
    if any(span.error_type for span in found):
        return True
    return bool(found) and int.from_bytes(found[0].trace_id[8:]) < ratio * _RANGE
