"""Answers about tools and functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agentflow_sdk.models.records import Record


@dataclass(frozen=True, slots=True)
class Tool(Record):
    """A tool or function that a step can name."""

    kind: str
    """`tool` or `function`, the type of the nodes that call it."""
    name: str
    """The name."""
    idempotent: bool = False
    """True if calling it again does no harm."""
    reveal: tuple[str, ...] = ()
    """The arguments whose tokens are replaced by the original values before the call."""
    schema: dict[str, Any] = field(default_factory=dict)
    """The JSON Schema of the arguments object."""
    doc: str = ""
    """The description for people."""
    built_in: bool = False
    """True if it is a part of AgentFlow."""
    offered_at: int = 0
    """When a worker offered it last, ms since the epoch."""
    workers: tuple[str, ...] = ()
    """The names of the workers that offer this version now."""
    version: str = ""
    """The digest of the description. Workers with different code under one name have different versions."""
    other_versions: tuple[Tool, ...] = ()
    """The offers of other workers under the same name. The version of the worker that started last comes first."""
