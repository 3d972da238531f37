"""The process of a service: its start and end, its health and its probes."""
