"""The answers about traces, by subject."""

__all__ = ["calls", "series", "trace", "views"]
