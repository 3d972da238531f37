"""The answers about traces, by subject."""

__all__ = ["calls", "diff", "explanation", "groups", "progress", "replay", "series", "trace", "views"]
