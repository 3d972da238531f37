"""What every service runs on: its start and end, its health and its probes."""
