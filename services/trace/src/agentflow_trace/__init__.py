"""The trace service."""
