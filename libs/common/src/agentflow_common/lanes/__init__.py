"""Keyed lanes: the fold of a lane's log, and the limits that operators set."""

__all__ = ["controls", "fold", "names"]
