"""The answers about traces, by subject."""

__all__ = ["calls", "diff", "series", "trace", "views"]
