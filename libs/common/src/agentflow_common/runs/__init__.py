"""A run: its folded state, the fold of its log, what it waits for, and what a fork of it keeps."""

__all__ = ["explain", "fold", "fold_facts", "fork", "parts", "state", "stops", "timer_ids", "transitions", "waiting"]
