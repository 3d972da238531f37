"""Schedules over the API, and the runs that start by time, by webhook and by NATS message."""

__all__ = ["calendars", "commands", "trigger_results", "triggers", "webhook_secrets", "webhook_server", "wiring"]
