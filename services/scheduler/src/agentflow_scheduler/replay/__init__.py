"""Replay: a recorded log is folded and decided again, and the first divergence is located."""

__all__ = ["handlers", "history", "replay"]
