"""The calls about traces, by subject."""

__all__ = ["diff", "reading", "rebuild", "series"]
