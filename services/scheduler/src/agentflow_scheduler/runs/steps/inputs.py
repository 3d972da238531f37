"""The inputs of a step, and the scope of its templates. Pure."""

from __future__ import annotations

from typing import Any

from agentflow_common.events import Payload
from agentflow_common.runs.parts import index_of, whole_of
from agentflow_common.runs.state import UNDO, StepStatus, iteration_key, parent_of
from agentflow_scheduler.runs.decisions import StepContext
from agentflow_scheduler.runs.scope import Scope
from agentflow_scheduler.runs.steps.items import items_of, scope_around


def inputs_of(at: StepContext) -> tuple[dict[str, Any], Scope]:
    """Returns the inputs of an attempt, and the scope in which they were computed. Raises InvalidError, NeedBlob."""
    scope, item = scope_of(at)
    return {**at.work.resolve(scope, at.sent), **item}, scope


def scope_of(at: StepContext) -> tuple[Scope, dict[str, Any]]:
    """Returns the scope of a step, and the input with its item, which replaces the one of the definition."""
    node = at.node
    base = at.key.removesuffix(UNDO)
    parent = parent_of(base)
    scope = at.scope
    local: dict[str, Any] = {}
    item: dict[str, Any] = {}
    if parent is not None and node.kind == "map":
        scope = scope_around(at.part(base))
    elif parent is not None and base.endswith("]"):
        index = index_of(base)
        items = items_of(at, parent)
        value = items.values[index]
        if base != at.key:
            local = {"item": value, "index": index}
        else:
            item = {items.name: value}
    elif parent is not None:
        local = _loop_names(at.scope, parent, int(base[len(parent) + 1 :]))
    if base != at.key:  # a compensation may refer to the output that it undoes
        undone = at.state.steps[base]
        output = undone.output if undone.status is StepStatus.COMPLETED else undone.output or undone.late
        local["output"] = at.scope.look(output or Payload())
    scope = scope.within(local) if local else scope
    if base != at.key:
        scope.own = whole_of(base)  # and not a later visit
    return scope, item


def _loop_names(scope: Scope, parent: str, iteration: int) -> dict[str, Any]:
    before = scope.state.steps.get(iteration_key(parent, iteration - 1))
    return {"iteration": iteration, "previous": scope.look(before.output or Payload()) if before else None}
