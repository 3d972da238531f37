"""Nodes and the critical path: the parts of a trace beside its attempts, for views."""

__all__ = ["answer", "critical_path", "nodes", "phases"]
