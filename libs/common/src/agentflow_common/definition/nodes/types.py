"""The types of node, and what all of them have."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from agentflow_common.definition.nodes.base import Int, IntOrNone, Model, NodeId
from agentflow_common.definition.nodes.configs import (
    ApprovalConfig,
    ContinueConfig,
    EndConfig,
    FunctionConfig,
    LlmConfig,
    LoopConfig,
    MapConfig,
    SignalConfig,
    SubworkflowConfig,
    ToolConfig,
    WaitConfig,
)
from agentflow_common.definition.nodes.policy import Policy
from agentflow_common.definition.nodes.work import Compensation

NODE_TYPES: Final = (
    "tool", "function", "llm", "subworkflow", "map", "loop", "wait", "signal", "approval", "continue_as_new",
    "end",
)  # fmt: skip
BODY_TYPES: Final = NODE_TYPES[:4]
ITEM_BODY_TYPES: Final = NODE_TYPES[:5]  # of a map
UNDO_TYPES: Final = NODE_TYPES[:2]


def _writes(value: Any) -> Any:
    parts = value.items() if isinstance(value, dict) else [("", value)] if value else []
    if value is not None and not all(isinstance(name, str) and isinstance(part, str) and part for name, part in parts):
        raise ValueError("give a key of the state, or parts of the output by key: {score: output.score}")
    return value


Writes = Annotated[
    Any,  # str | dict[str, str] | None
    BeforeValidator(_writes),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}},
                {"type": "null"},
            ]
        }
    ),
]


def _join(value: Any) -> Any:
    if value not in ("all", "any") and (type(value) is not int or value < 1):
        raise ValueError("write `all`, `any`, or the number of edges that the node needs: join: 2")
    return value


Join = Annotated[
    Any,  # Literal["all", "any"] | int
    BeforeValidator(_join),
    WithJsonSchema({"anyOf": [{"enum": ["all", "any"]}, {"type": "integer", "minimum": 1}]}),
]


class NodeBase(Model):
    """The fields that every node has."""

    id: NodeId
    """The node's name: other nodes, edges and conditions refer to it."""

    name: str = ""
    """A title for people."""

    description: str = ""
    """What the node is for, for people."""

    policy: Policy = Policy()
    """Time limits, retries, and what follows a failure."""

    condition: str | None = Field(None, examples=["judge.output.words > 10"])
    """A CEL condition; the step is skipped unless it holds."""

    lane: str = Field(
        "default", pattern=r"^([A-Za-z0-9_-]{1,64}|[^{]{0,64}\{\{.{1,256})$", examples=["gpu", "{{org}}-{{customer}}"]
    )
    """The worker pool that runs the step. With a template it is a keyed lane: a queue for each key."""

    lane_limit: Int = Field(1, ge=1, le=10_000)
    """For a keyed lane: how many attempts run at a time for each key."""

    lane_rate: str | None = Field(
        None,
        pattern=r"^\d{1,6}(\.\d{1,6})?/[smh]$",
        examples=["10/s", "100/m"],
        json_schema_extra={"patternErrorMessage": "write for example 10/s, 100/m or 1000/h"},
    )
    """For a keyed lane: how many attempts start in a second, minute or hour for each key."""

    pool: str = Field("default", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """For a keyed lane: the worker pool that runs it."""

    priority: IntOrNone = Field(None, ge=-100, le=100)
    """A higher number goes first; without it the run's priority."""

    depends_on: tuple[NodeId, ...] = Field((), examples=[["read"]])
    """Nodes that must be decided first: edges without a condition."""

    join: Join = Field("all", examples=["any", 2])
    """How many of the nodes before it must have completed: `all` waits until each is decided; `any`, or a
    number, starts the node when so many have completed, and cancels the others.
    """

    barrier: bool = False
    """In a graph: the node runs once every edge that leads to it was taken since it last ran, and not for each."""

    at_end: bool = Field(False, alias="finally")
    """The node runs once the run has completed, failed, been cancelled or taken too long, and before
    its last event. Its templates and conditions may read `outcome`.
    """

    compensate_with: Compensation | None = None
    """Undoes the step if the run fails or is cancelled later."""

    writes: Writes = Field(None, examples=["summary", {"score": "output.score"}])
    """In a graph: the key of the state that takes the output, or parts of the output by key. Without
    it the output's fields are the keys.
    """

    @property
    def is_keyed(self) -> bool:
        """True if `lane` is a template: each key is a keyed lane then."""
        return "{{" in self.lane

    @property
    def worker_pool(self) -> str:
        """Returns the name of the worker pool that runs the step."""
        return self.pool if self.is_keyed else self.lane


class ToolNode(NodeBase):
    """Calls a tool."""

    type: Literal["tool"]
    """Calls a tool."""

    config: ToolConfig
    """The tool and its arguments."""


class FunctionNode(NodeBase):
    """Calls a function."""

    type: Literal["function"]
    """Calls a function."""

    config: FunctionConfig
    """The function and its arguments."""


class LlmNode(NodeBase):
    """Asks a model with a registered prompt."""

    type: Literal["llm"]
    """Asks a model."""

    config: LlmConfig
    """The prompt and its inputs."""


class SubworkflowNode(NodeBase):
    """Runs a registered workflow as a run of its own."""

    type: Literal["subworkflow"]
    """Runs another workflow."""

    config: SubworkflowConfig
    """The workflow and its inputs."""


class MapNode(NodeBase):
    """Runs a body once for each item of a list."""

    type: Literal["map"]
    """Runs a body for each item of a list."""

    config: MapConfig
    """The list, the body and its limits."""


class LoopNode(NodeBase):
    """Runs a body again and again."""

    type: Literal["loop"]
    """Runs a body again and again."""

    config: LoopConfig
    """The body and when the loop ends."""


class WaitNode(NodeBase):
    """Waits for a duration, or until a time."""

    type: Literal["wait"]
    """Waits for a duration, or until a time."""

    config: WaitConfig
    """How long, or until when."""


class SignalNode(NodeBase):
    """Waits for a signal."""

    type: Literal["signal"]
    """Waits for a signal."""

    config: SignalConfig
    """The signal, and how long to wait for it."""


class ApprovalNode(NodeBase):
    """Waits for people to approve or reject."""

    type: Literal["approval"]
    """Waits for people."""

    config: ApprovalConfig = ApprovalConfig()
    """Who may answer, and for how long."""


class ContinueNode(NodeBase):
    """Ends the run and starts the next one of the same definition."""

    type: Literal["continue_as_new"]
    """Ends the run and starts the next one."""

    config: ContinueConfig = ContinueConfig()
    """The inputs of the next run."""


class EndNode(NodeBase):
    """Ends the run early."""

    type: Literal["end"]
    """Ends the run early."""

    config: EndConfig = EndConfig()
    """How the run ends."""


AnyNode = (
    ToolNode
    | FunctionNode
    | LlmNode
    | SubworkflowNode
    | MapNode
    | LoopNode
    | WaitNode
    | SignalNode
    | ApprovalNode
    | ContinueNode
    | EndNode
)
Node = Annotated[AnyNode, Field(discriminator="type")]
