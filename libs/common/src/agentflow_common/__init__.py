"""What every AgentFlow service shares: the event contract, the log, the bus and the workflow definition."""

__version__ = "0.1.0"
