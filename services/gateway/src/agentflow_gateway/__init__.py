"""The gateway service: the only entrance for clients. It checks who calls, appends facts to the log, and answers."""

__all__ = ["keys", "runs", "store"]
