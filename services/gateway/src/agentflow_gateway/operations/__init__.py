"""Operators' work: lanes and pauses, dead letters, the audit log."""

__all__ = ["audit_log", "controls_bucket", "dead_letters", "jetstream_metrics", "lanes"]
