"""Argo Workflows: steps, DAGs, loops, retries, suspensions. A container becomes a tool of the template's name."""

from agentctl.importers.argo.workflow import convert

__all__ = ["convert"]
