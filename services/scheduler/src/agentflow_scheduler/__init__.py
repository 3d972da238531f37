"""The scheduler service: it folds the log into the state of each run and decides which steps run next."""

__all__ = ["replay", "shards"]
