"""`agentctl schedule`: schedules and their calendars."""
