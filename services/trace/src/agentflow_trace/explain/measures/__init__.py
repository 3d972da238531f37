"""Where the time and the money of a run went, against what is usual for its workflow."""

__all__ = ["costs", "history", "slow", "store_history"]
