"""One module for each group of commands. Heavy imports stand inside the commands: start-up time is a promise."""

__all__ = ["audit", "budget", "dead", "lane", "local", "prompt", "retention", "schedule", "tools", "trace", "workflow"]
