"""`agentctl workflow`: definitions and runs."""

__all__ = ["run"]
