"""The answers about traces, by subject."""

__all__ = ["calls", "diff", "explanation", "progress", "series", "trace", "views"]
