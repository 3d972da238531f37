"""Requests: gRPC, HTTP, and questions between services."""

from __future__ import annotations

from typing import Final

from agentflow_common.metrics.bounded import counter, gauge, histogram
from agentflow_common.metrics.labels import CODE, KIND, METHOD, ROUTE, STATUS, VERB

CALL_BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

GRPC_REQUESTS: Final = counter("grpc_requests", "Calls of the API", METHOD, CODE)
GRPC_SECONDS: Final = histogram(
    "grpc_request_duration_seconds", "Duration of calls, without streams", CALL_BUCKETS, METHOD
)
GRPC_STREAM_SECONDS: Final = histogram(
    "grpc_stream_duration_seconds", "Duration of a stream", (1, 10, 60, 600, 3600), METHOD
)
GRPC_ACTIVE: Final = gauge("grpc_requests_active", "Calls and streams that are being served", METHOD)
HTTP_REQUESTS: Final = counter("http_requests", "Requests over HTTP", ROUTE, CODE)
HTTP_SECONDS: Final = histogram("http_request_duration_seconds", "Duration of HTTP requests", CALL_BUCKETS, ROUTE)
TRIGGERS: Final = counter("schedule_triggers", "Triggers of schedules, by kind and outcome", KIND, CODE)
RPC_SECONDS: Final = histogram(
    "rpc_duration_seconds", "Time to answer a question of another service", CALL_BUCKETS, VERB, STATUS
)
RPC_CALL_SECONDS: Final = histogram(
    "rpc_call_duration_seconds",
    "Time until another service has answered, as the one that asks sees it; status also `rpc_timeout` and "
    "`service_unavailable`",
    CALL_BUCKETS,
    VERB,
    STATUS,
)
RPC_ACTIVE: Final = gauge("rpc_requests_active", "Questions that are being answered", VERB)
