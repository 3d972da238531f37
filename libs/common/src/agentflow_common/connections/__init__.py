"""Connections to NATS and databases, and their transient errors."""

__all__ = ["clickhouse", "nats_client", "postgres", "transient"]
