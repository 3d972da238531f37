"""The trace service: it copies the log to ClickHouse and answers questions about runs."""

__all__ = []
