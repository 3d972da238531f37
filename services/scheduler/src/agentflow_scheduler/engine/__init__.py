"""The scheduler's loop: take what arrived, fold it, decide, append."""

__all__ = ["controls", "engine", "load_report"]
