"""What every service runs on: its life, its health, its telemetry, and its connections to NATS and databases."""
