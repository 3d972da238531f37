"""The event log in NATS JetStream: appends, consumers, blobs, dead letters, and the order in which a log is folded."""

__all__ = [
    "blobs",
    "consumers",
    "dead_letters",
    "durables",
    "event_log",
    "fast_path",
    "fold",
    "group_commit",
    "object_reads",
    "streams",
    "timers",
    "transient",
    "worker_offers",
]
