"""Schedules: their definition, their fire times, their state, and the fold of their log."""

__all__ = [
    "field_types", "fire_times", "fold", "json_schema", "load", "patterns", "run_lanes", "sources", "spec", "state",
]  # fmt: skip
