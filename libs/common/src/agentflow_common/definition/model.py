"""The workflow definition: one schema for YAML, the SDK's builder and JSON over gRPC.

A definition is data. It is pinned inside `run.submitted`, so its canonical form is stable.
parse.py makes a checked one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
from pydantic import Field

from agentflow_common import ids
from agentflow_common.definition.durations import Duration
from agentflow_common.definition.inputs import InputSpec, check_inputs
from agentflow_common.definition.nodes.base import ITERATIONS_MAX, NODE_ID, NODES_MAX, Int, IntOrNone, Model, NodeId
from agentflow_common.definition.nodes.calls import Work, works
from agentflow_common.definition.nodes.lock import LockField
from agentflow_common.definition.nodes.run_lane import RunLaneField
from agentflow_common.definition.nodes.types import Node

NAME: Final = NODE_ID
PROBLEMS_MAX: Final = 50
BUILT_IN: Final = ("inputs", "org", "run", "tags", "workflow", "state")  # the names that every template may use


class Edge(Model):
    """A connection of two nodes. With `max_iterations` it goes back: what lies between its ends runs again."""

    source: NodeId = Field(alias="from")
    """The node that runs first."""

    target: NodeId = Field(alias="to")
    """The node that runs next; in a graph `END` leads nowhere."""

    condition: str | None = Field(None, examples=["review.output.score < 0.9"])
    """A CEL condition; the edge is taken if it holds."""

    max_iterations: IntOrNone = Field(None, ge=1, le=ITERATIONS_MAX)
    """Makes it a back edge, which is taken at most this many times."""

    over: Any = Field(None, examples=["plan.output.tasks"])
    """In a graph: a list. The target runs once for each item for which `condition` holds, all in one superstep."""

    item: NodeId = "item"
    """The name of an item of `over` in `condition` and `args`. `index` is its number, from 0."""

    args: dict[str, Any] = Field({}, examples=[{"part": "{{item.text}}"}])
    """In a graph: what the target is given instead of the state. Unset with `over`: the item."""

    @property
    def sends(self) -> bool:
        """True if the target is given values of its own."""
        return self.over is not None or bool(self.args)


class Dag(Model):
    """The nodes and the edges between them."""

    nodes: tuple[Node, ...] = Field(min_length=1, max_length=NODES_MAX)
    """The steps of the workflow."""

    edges: tuple[Edge, ...] = Field((), max_length=20 * NODES_MAX)
    """Which node leads to which."""


class StateSpec(Model):
    """The shared state of a graph: its form, its start, and how outputs change it."""

    json_schema: dict[str, Any] = Field({}, alias="schema")
    """A JSON Schema of the whole state, which is an object."""

    reducers: dict[str, Literal["replace", "append", "extend", "merge", "union", "sum", "max", "min", "first"]] = Field(
        {}, examples=[{"notes": "append"}]
    )
    """How an output changes a key; `replace` if unset."""

    initial: dict[str, Any] = Field({})
    """The state at the start, before the inputs are laid over it."""


class Graph(Model):
    """Makes the workflow a graph with shared state that runs in supersteps."""

    entry_point: NodeId
    """The node that runs first."""

    state: StateSpec = StateSpec()
    """The shared state."""

    max_supersteps: Int = Field(100, ge=1, le=10_000)
    """The run fails after this many supersteps."""


class Definition(Model):
    """A workflow: what goes in, what runs, what comes out."""

    name: str = Field(pattern=NAME, examples=["document_analysis"])
    """The workflow's name."""

    version: Int = Field(1, ge=1, le=2**31 - 1)
    """The version. A registered version never changes: raise the number."""

    description: str = ""
    """What the workflow does, for people."""

    inputs: dict[str, InputSpec] = Field({}, examples=[{"document": {"type": "string"}}])
    """The inputs by name. Without any, the workflow takes every input."""

    outputs: dict[str, Any] = Field({}, examples=[{"summary": "write.output.text"}])
    """The run's output by name: values, references or templates."""

    deadline_ms: Duration | None = Field(None, examples=["1h"])
    """The limit for the whole run, from its submission."""

    finally_ms: Duration = Field(600_000, examples=["10m"])
    """The limit for all nodes with `finally: true` together; what still runs then is closed."""

    run_lane: RunLaneField = Field(None, examples=["{{customer}}", {"key": "{{customer}}", "limit": 2}])
    """A keyed lane that every run takes a slot of before its first step, and gives back at its end."""

    lock: LockField = Field((), examples=[{"key": "{{account}}", "nodes": ["read", "write"]}])
    """A lock, or a list of them, that a run has while several of its nodes run."""

    dag: Dag
    """The nodes and edges."""

    graph: Graph | None = None
    """Makes it a graph with shared state. `entry_point` at the top level says the same."""

    def canonical(self) -> dict[str, Any]:
        """Returns plain JSON data without defaults, which parses back to an equal definition."""
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        data["name"], data["version"] = self.name, self.version
        for node, raw in zip(self.dag.nodes, data["dag"]["nodes"], strict=True):
            raw["type"] = node.type
        return data

    def digest(self) -> str:
        """Returns the hex SHA-256 of the canonical form."""
        return ids.digest(msgspec.json.encode(self.canonical(), order="sorted"))

    def works(self) -> Iterator[tuple[int, Work]]:
        """Yields everything that is called by name, with the number of its node: nodes, bodies and compensations."""
        for number, node in enumerate(self.dag.nodes):
            for work in works(node):
                yield number, work

    def workflow_refs(self) -> tuple[str, ...]:
        """Returns the references of its subworkflows, each once."""
        refs = (work.config.workflow for _, work in self.works() if work.type == "subworkflow")
        return tuple(dict.fromkeys(refs))

    def pools(self) -> tuple[str, ...]:
        """Returns the worker pools that its tasks go to, each once."""
        return tuple(dict.fromkeys(node.worker_pool for node in self.dag.nodes))

    def check_inputs(self, inputs: dict[str, Any], *, private: bool = False) -> dict[str, Any]:
        """Returns the inputs with defaults filled in. Raises InvalidError if one is missing, unknown or does not fit.

        private: vault tokens may stand in the inputs.
        """
        return check_inputs(self.inputs, inputs, private=private)


def load_trusted(data: dict[str, Any]) -> Definition:
    """Returns a definition that was checked before it was pinned in the log."""
    return Definition.model_validate(data)
