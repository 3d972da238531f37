"""The differences of runs by meaning: pure modules, and the handlers that read the runs."""

__all__ = ["handlers", "store_groups"]
