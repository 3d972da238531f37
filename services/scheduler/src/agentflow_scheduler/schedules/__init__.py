"""The machine of schedules: when the next run is due."""

__all__ = ["machine"]
