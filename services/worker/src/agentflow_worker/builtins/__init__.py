"""Functions that every worker offers: they compute and touch nothing."""

__all__ = []
