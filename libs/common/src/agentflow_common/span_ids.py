"""The ids of spans that are made from the log. Pure.

They derive from the run, so that a repeated export has the same spans, and a worker knows the span of its step.
"""

from __future__ import annotations

import hashlib
from typing import Final

_SPAN_BYTES: Final = 8
_TRACE_BYTES: Final = 16


def run_span(org: str, run: str) -> bytes:
    return _derived(_SPAN_BYTES, "run", org, run)


def step_span(org: str, run: str, step: str, attempt: int) -> bytes:
    return _derived(_SPAN_BYTES, "step", org, run, step, str(attempt))


def call_span(org: str, run: str, step: str, attempt: int, call: int) -> bytes:
    return _derived(_SPAN_BYTES, "call", org, run, step, str(attempt), str(call))


def beneath_step(traceparent: str, org: str, run: str, step: str, attempt: int) -> str:
    """Returns the traceparent of what is done for an attempt of a step: beneath its span, in the trace of the run."""
    parts = traceparent.split("-")
    if len(parts) != 4:
        return traceparent
    return f"{parts[0]}-{parts[1]}-{step_span(org, run, step, attempt).hex()}-{parts[3]}"


def trace_of(org: str, run: str, trace_id: str) -> bytes:
    """Returns the id of a run's trace. One that the log does not name validly derives from the run."""
    try:
        found = bytes.fromhex(trace_id)
    except ValueError:
        found = b""
    return found if len(found) == _TRACE_BYTES and any(found) else _derived(_TRACE_BYTES, "trace", org, run)


def _derived(size: int, *parts: str) -> bytes:
    text = "\x00".join(("agentflow", *parts))
    found = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()
    return found if any(found) else b"\x01" * size  # an id of zeros is not valid
