"""Conductor: tasks in order, switches, forks, loops, subworkflows. A worker's task becomes a tool of its name."""

from agentctl.importers.conductor.workflow import convert

__all__ = ["convert"]
