"""Shards: leases and their balance between schedulers, recovery from the log, snapshots."""

__all__ = ["leases", "recovery", "shards", "snapshots"]
