"""AWS Step Functions (the Amazon States Language), with JSONPath and JSONata. A Lambda becomes a tool of its name."""

from agentctl.importers.stepfunctions.machine import convert

__all__ = ["convert"]
