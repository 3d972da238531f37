"""The event log: consumers, streams and dead letters."""

from __future__ import annotations

from typing import Final

from agentflow_common.metrics.bounded import counter, gauge, snapshot
from agentflow_common.metrics.labels import ORIGIN, QUEUE, REASON

QUEUE_LAG: Final = gauge("queue_lag", "Messages that wait in a consumer, as its service last saw it", QUEUE)
DEAD_LETTERS: Final = counter("dead_letters", "Messages that a service set aside as dead letters", ORIGIN, REASON)
DEAD_LETTERS_HELD: Final = gauge("dead_letters_held", "Dead letters that wait for a decision (by the gateway)").metric

STREAM_BYTES: Final = snapshot("jetstream_stream_bytes", "Bytes of a stream on disk", "stream")
STREAM_MESSAGES: Final = snapshot("jetstream_stream_messages", "Messages in a stream", "stream")
STREAM_LAST_SEQ: Final = snapshot("jetstream_stream_last_sequence", "Newest sequence of a stream", "stream")
STREAM_CONSUMERS: Final = snapshot("jetstream_stream_consumers", "Consumers of a stream", "stream")
CONSUMER_PENDING: Final = snapshot(
    "jetstream_consumer_pending", "Messages that a durable consumer has yet to deliver", "stream", "consumer"
)
CONSUMER_UNACKED: Final = snapshot(
    "jetstream_consumer_ack_pending", "Messages delivered and not acknowledged", "stream", "consumer"
)
CONSUMER_REDELIVERED: Final = snapshot(
    "jetstream_consumer_redelivered", "Unacknowledged messages that were delivered again", "stream", "consumer"
)
STORAGE_BYTES: Final = gauge("jetstream_storage_bytes", "Bytes of all streams on disk").metric
STORAGE_LIMIT_BYTES: Final = gauge(
    "jetstream_storage_limit_bytes", "Most bytes that the account may store; -1 if it has no limit"
).metric
EXPORT_AGE: Final = gauge(
    "jetstream_exported_timestamp_seconds", "When the gateway last read these figures from the server"
).metric
