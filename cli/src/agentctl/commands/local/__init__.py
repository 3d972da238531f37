"""Commands about this machine: the embedded stack, its keys, logs and backups, and the command line itself."""

__all__ = ["backup", "completion", "config", "init", "keys", "logs", "stack"]
