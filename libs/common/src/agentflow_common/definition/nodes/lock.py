"""A lock that a run holds while several of its nodes run."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from agentflow_common.definition.nodes.base import NODES_MAX, Model, NodeId
from agentflow_common.definition.nodes.run_lane import Key

LOCKS_MAX: Final = 8  # of one workflow: a run waits for them one after the other


class Lock(Model):
    """A lock for each key, which one run of an org has at a time."""

    key: Key = Field(examples=["{{account}}"])
    """The name of the lock: a text or a template. Runs of an org with the same key share one lock."""

    nodes: tuple[NodeId, ...] = Field(min_length=1, max_length=NODES_MAX, examples=[["read", "write"]])
    """The nodes under the lock. It is taken before the first of them begins, and given back when all have ended."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


LockField = Annotated[
    tuple[Lock, ...],
    BeforeValidator(_listed, json_schema_input_type=Lock | tuple[Lock, ...]),
    Field(max_length=LOCKS_MAX),
]
