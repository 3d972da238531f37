"""NATS, PostgreSQL and Prometheus as child processes, for one machine, tests and benchmarks."""

__all__ = ["monitors", "nats", "postgres", "processes", "servers"]
