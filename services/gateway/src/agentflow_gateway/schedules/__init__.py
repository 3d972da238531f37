"""What the API does to schedules, and the runs that start by time, by webhook and by message."""
