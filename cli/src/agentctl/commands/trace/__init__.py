"""`agentctl trace`: what runs did."""

__all__ = ["group"]
