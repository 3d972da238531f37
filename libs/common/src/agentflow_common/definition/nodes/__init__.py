"""The nodes of a workflow definition: what each type takes, what it calls, what it reads."""

from __future__ import annotations

from agentflow_common.definition.nodes.base import ITERATIONS_MAX, NODE_ID, NODES_MAX, WORKFLOW_REF, Model, NodeId
from agentflow_common.definition.nodes.calls import Work, all_inputs, arguments, local_names, works
from agentflow_common.definition.nodes.policy import Policy, Retry
from agentflow_common.definition.nodes.types import (
    BODY_TYPES,
    NODE_TYPES,
    UNDO_TYPES,
    AnyNode,
    ApprovalNode,
    ContinueNode,
    FunctionNode,
    LlmNode,
    LoopNode,
    MapNode,
    Node,
    SignalNode,
    SubworkflowNode,
    ToolNode,
    WaitNode,
)
from agentflow_common.definition.nodes.work import Body

__all__ = [
    "BODY_TYPES",
    "ITERATIONS_MAX",
    "NODES_MAX",
    "NODE_ID",
    "NODE_TYPES",
    "UNDO_TYPES",
    "WORKFLOW_REF",
    "AnyNode",
    "ApprovalNode",
    "Body",
    "ContinueNode",
    "FunctionNode",
    "LlmNode",
    "LoopNode",
    "MapNode",
    "Model",
    "Node",
    "NodeId",
    "Policy",
    "Retry",
    "SignalNode",
    "SubworkflowNode",
    "ToolNode",
    "WaitNode",
    "Work",
    "all_inputs",
    "arguments",
    "local_names",
    "works",
]
