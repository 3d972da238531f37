"""NATS and PostgreSQL as child processes, for one machine, tests and benchmarks."""

__all__ = ["nats", "postgres", "processes", "servers"]
