"""The inputs of a step: the scope of its templates, and the items of a step with one child for each. Pure."""

from __future__ import annotations

from typing import Any

from agentflow_common.events import Payload
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.json_values import kind_of
from agentflow_common.runs.state import MARKER, UNDO, StepStatus, iteration_key, parent_of
from agentflow_scheduler.runs.decisions import RunDecisions, StepContext
from agentflow_scheduler.runs.plan import PlanNode
from agentflow_scheduler.runs.scope import Scope, in_field


def inputs_of(at: StepContext) -> tuple[dict[str, Any], Scope]:
    """Returns the inputs of an attempt, and the scope in which they were computed. Raises InvalidError, NeedBlob."""
    scope, item = scope_of(at)
    return {**at.work.resolve(scope), **item}, scope


def scope_of(at: StepContext) -> tuple[Scope, dict[str, Any]]:
    """Returns the scope of a step, and the input with its item, which replaces the one of the definition."""
    out, node = at.out, at.node
    base = at.key.removesuffix(UNDO)
    parent = parent_of(base)
    local: dict[str, Any] = {}
    item: dict[str, Any] = {}
    if parent is not None and base.endswith("]"):
        index = int(base[len(parent) + 1 : -1])
        name, items = items_of(out, node, parent)
        if node.kind == "map":
            local = {node.config.item: items[index], "index": index}
        elif base != at.key:
            local = {"item": items[index], "index": index}
        else:
            item = {name: items[index]}
    elif parent is not None:
        local = _loop_names(out.scope, parent, int(base[len(parent) + 1 :]))
    if base != at.key:  # a compensation may refer to the output that it undoes
        undone = at.state.steps[base]
        output = undone.output if undone.status is StepStatus.COMPLETED else undone.output or undone.late
        local["output"] = out.scope.look(output or Payload())
    scope = out.scope.within(local) if local else out.scope
    if base != at.key:
        scope.own = parent or base  # and not a later visit
    return scope, item


def _loop_names(scope: Scope, parent: str, iteration: int) -> dict[str, Any]:
    before = scope.state.steps.get(iteration_key(parent, iteration - 1))
    return {"iteration": iteration, "previous": scope.look(before.output or Payload()) if before else None}


def items_of(out: RunDecisions, node: PlanNode, parent: str) -> tuple[str, list[Any]]:
    """Returns the name of the input that holds an item, and the items, of a step that has one child for each.

    They are looked up once in a turn, however many children it concerns. Raises ExpressionError, NeedBlob.
    """
    if parent not in out.items:
        if node.kind == "map":
            out.items[parent] = (node.config.item, _map_items(node, out.scope))
        else:
            assert node.work is not None  # noqa: S101
            out.items[parent] = _mapped_input(node, node.work.resolve(out.scope), out.scope)
    return out.items[parent]


def _map_items(node: PlanNode, scope: Scope) -> list[Any]:
    items = in_field("over", lambda: _whole(node.values["over"](scope), scope))
    if not isinstance(items, list):
        raise ExpressionError(f"`over` must be a list, it is {kind_of(items)}")
    return items


def _mapped_input(node: PlanNode, inputs: dict[str, Any], scope: Scope) -> tuple[str, list[Any]]:
    """Returns the input that a parallel step maps over, and its items.

    It is the one that `for_each` names, or the only list. If no input is a list, it is the only object with one list
    in it, such as the output of a step that splits something.
    """
    if node.for_each:
        name, items = node.for_each, _whole(inputs[node.for_each], scope)
    else:
        values = {key: _whole(value, scope) for key, value in inputs.items()}
        lists = {key: value for key, value in values.items() if isinstance(value, list)}
        if not lists:
            inner = {key: _lists_of(value) for key, value in values.items()}
            lists = {key: found[0] for key, found in inner.items() if len(found) == 1}
        if len(lists) != 1:
            found = ", ".join(lists) or "none"
            raise ExpressionError(f"a parallel step needs one input that is a list (found: {found}); set `for_each`")
        name, items = next(iter(lists.items()))
    if not isinstance(items, list):
        raise ExpressionError(f"the input {name!r} of a parallel step must be a list, it is {kind_of(items)}")
    return name, items


def _lists_of(value: Any) -> list[list[Any]]:
    return [part for part in value.values() if isinstance(part, list)] if isinstance(value, dict) else []


def _whole(value: Any, scope: Scope) -> Any:
    """Returns the value itself if it is a marker. Markers inside of it stay."""
    return scope.inside(value) if isinstance(value, dict) and MARKER in value else value
