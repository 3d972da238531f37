"""The answers about traces, by subject."""

__all__ = ["trace", "views"]
