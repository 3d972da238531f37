"""n8n: nodes and connections. A node of an app becomes a tool of its name."""

from agentctl.importers.n8n.workflow import convert

__all__ = ["convert"]
