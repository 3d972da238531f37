"""The calls about traces, by subject."""

__all__ = ["diff", "explain", "groups", "querying", "reading", "rebuild", "replay", "series", "spans"]
