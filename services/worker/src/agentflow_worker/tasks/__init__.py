"""A task in a worker's hands: run it, keep its heartbeat, report how it ended."""
