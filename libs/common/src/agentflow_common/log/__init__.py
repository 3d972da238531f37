"""The event log in NATS JetStream: appends, consumers, blobs, dead letters, and the order in which a log is folded."""
