"""Saturation of a service's process: its loop, threads, connections, network and disk."""

from __future__ import annotations

from typing import Final

from agentflow_common.metrics.bounded import counter, gauge, histogram
from agentflow_common.metrics.labels import DIRECTION, INTERFACE, POOL, STATE

LOOP_LAG_SECONDS: Final = histogram(
    "event_loop_lag_seconds",
    "How late the event loop woke up a task that slept",
    (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
).metric
LOOP_TASKS: Final = gauge("event_loop_tasks", "Tasks of the event loop").metric
THREADS: Final = gauge("thread_pool_calls", "Calls in a pool of threads; state: `busy` or `waiting`", POOL, STATE)
THREADS_MAX: Final = gauge("thread_pool_threads_max", "Most threads of a pool", POOL)
CONNECTIONS: Final = gauge(
    "connection_pool_connections", "Connections of a pool to PostgreSQL; state: `busy` or `idle`", POOL, STATE
)
CONNECTIONS_MAX: Final = gauge("connection_pool_connections_max", "Most connections of a pool", POOL)
NATS_BYTES: Final = counter("nats_bytes", "Bytes between a service and NATS", DIRECTION)
NATS_MESSAGES: Final = counter("nats_messages", "Messages between a service and NATS", DIRECTION)
NATS_RECONNECTS: Final = counter("nats_reconnects", "Times that a service connected to NATS again").metric
NATS_PENDING: Final = gauge("nats_pending_bytes", "Bytes that a service has yet to send to NATS").metric
NETWORK_BYTES: Final = counter(
    "network_bytes", "Bytes of the network interfaces that the process sees: of its container or machine",
    INTERFACE, DIRECTION,
)  # fmt: skip
DISK_BYTES: Final = counter("process_disk_bytes", "Bytes that the process read from or wrote to disks", DIRECTION)
