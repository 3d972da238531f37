"""Questions to the trace service, by subject."""

__all__ = ["calls", "diff", "explain", "groups", "query", "reading", "rebuild", "series", "views"]
