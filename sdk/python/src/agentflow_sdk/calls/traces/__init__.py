"""The calls about traces, by subject."""

__all__ = ["reading", "series"]
