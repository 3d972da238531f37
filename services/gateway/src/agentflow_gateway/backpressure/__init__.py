"""Accepts or refuses further runs, by what the schedulers have in hand."""

__all__ = ["load_reports"]
