"""The library that every AgentFlow service shares: events, the log, questions between services, definitions."""

__version__ = "0.1.0"
