"""agentctl: the command line and the embedded stack."""

__version__ = "0.1.0"

__all__ = []
