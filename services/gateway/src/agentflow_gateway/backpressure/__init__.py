"""Accepts or refuses further runs, by what the schedulers have in hand."""

__all__ = ["admission", "load_reports"]
