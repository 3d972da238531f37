"""Questions about traces, by subject: the trace service answers, the gateway adds what it knows."""

__all__ = ["diff", "explain", "groups", "query", "rebuild", "replay", "series", "spans"]
