"""The calls about traces, by subject."""

__all__ = ["diff", "explain", "reading", "rebuild", "series"]
