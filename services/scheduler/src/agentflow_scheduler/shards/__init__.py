"""Shards: leases and their balance between schedulers, recovery from the log, snapshots."""
