"""Serverless Workflow 1.0: tasks with jq between them. A call that is not HTTP becomes a tool of its name."""

from agentctl.importers.serverless.workflow import convert

__all__ = ["convert"]
