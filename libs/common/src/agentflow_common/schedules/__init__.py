"""Schedules: their definition, their fire times, and the fold of their log."""
