"""The answers about traces, by subject."""

__all__ = ["calls", "diff", "progress", "series", "trace", "views"]
