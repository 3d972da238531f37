"""`agentctl schedule`: schedules and their calendars."""

__all__ = ["schedules"]
