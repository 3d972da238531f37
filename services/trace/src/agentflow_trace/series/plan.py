"""The bounds of a question about a development over time, and the length of its times. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from agentflow_common.errors import InvalidError
from agentflow_common.rpc.traces.series import TraceSeriesRequest

BY: Final = ("", "workflow", "status", "node", "model")
POINTS_WANTED: Final = 60
BUCKETS_MAX: Final = 1_000
SERIES_MAX: Final = 8  # the others are one series, `(other)`
_S, _M, _H, _D = 1_000, 60_000, 3_600_000, 86_400_000
LENGTHS: Final = (
    _S, 5 * _S, 15 * _S, 30 * _S, _M, 5 * _M, 15 * _M, 30 * _M, _H, 3 * _H, 6 * _H, 12 * _H, _D, 7 * _D, 30 * _D,
)  # fmt: skip


def checked(request: TraceSeriesRequest) -> TraceSeriesRequest:
    """Returns the request with a length of its times, and its start at the start of one.

    Raises InvalidError if it asks for what there is not, or for too much.
    """
    if request.by not in BY:
        known = ", ".join(name for name in BY if name)
        raise InvalidError.at("by", f"{request.by[:40]!r} is not a kind of series", f"use one of {known}, or none")
    if not 0 < request.start_ms < request.end_ms:
        raise InvalidError.at("end_ms", "the end of the range is not after its start")
    span = request.end_ms - request.start_ms
    length = request.bucket_ms or next((ms for ms in LENGTHS if span <= ms * POINTS_WANTED), -(-span // POINTS_WANTED))
    start = request.start_ms // length * length if length > 0 else 0
    if length < 0 or (request.end_ms - start) > length * BUCKETS_MAX:
        fix = f"ask for at most {BUCKETS_MAX:,} times: use a longer one, or a shorter range"
        raise InvalidError.at("bucket_ms", "the times are too short for the range", fix)
    return msgspec.structs.replace(request, start_ms=start, bucket_ms=length)
