"""Connections to NATS and databases, and the errors of theirs that pass by themselves."""

__all__ = ["clickhouse", "nats_client", "postgres", "transient"]
