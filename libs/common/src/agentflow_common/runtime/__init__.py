"""The process of a service: its start and end, its health and its probes."""

__all__ = ["health_server", "probes", "service"]
