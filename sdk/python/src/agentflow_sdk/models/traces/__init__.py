"""The answers about traces, by subject."""

__all__ = ["calls", "trace", "views"]
