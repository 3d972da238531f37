"""The items of a step with one child for each: of a map, or of a parallel step. Pure."""

from __future__ import annotations

from typing import Any, Final

from agentflow_common.definition.nodes.base import ITEMS_MAX
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.json_values import kind_of
from agentflow_common.runs.parts import index_of
from agentflow_common.runs.state import MARKER, parent_of
from agentflow_scheduler.runs.decisions import Items, StepContext
from agentflow_scheduler.runs.plan import PlanNode
from agentflow_scheduler.runs.scope import Scope, fitting, in_field

_NUMBERS: Final = ("start", "stop", "step")


def scope_around(at: StepContext) -> Scope:
    """Returns the scope of the run's values, with the items that a part of a map is made for, in all levels.

    Raises ExpressionError, NeedBlob.
    """
    parent = parent_of(at.key)
    if parent is None:
        return at.scope
    above = at.part(parent)
    items, index = items_of(at, parent), index_of(at.key)
    return scope_around(above).within({items.name: items.values[index], above.node.config.index: index})


def items_of(at: StepContext, parent: str) -> Items:
    """Returns the items of a step that has one child for each.

    They are looked up once in a turn, however many children it concerns. Raises ExpressionError, NeedBlob.
    """
    out, node = at.out, at.node
    if parent not in out.items:
        if node.kind == "map":
            of = at.part(parent)
            out.items[parent] = _of_map(of.node, scope_around(of))
        else:
            assert node.work is not None  # noqa: S101
            out.items[parent] = _mapped_input(node, node.work.resolve(at.scope, at.sent), at.scope)
    return out.items[parent]


def _of_map(node: PlanNode, scope: Scope) -> Items:
    config = node.config
    keys: tuple[str, ...] | None = None
    if config.range is not None:
        values = in_field("range", lambda: _numbers(node.values["range"](scope), scope))
    elif config.zip is not None:
        values = in_field("zip", lambda: _side_by_side(node.values["zip"](scope), scope))
    else:
        found = in_field("over", lambda: _whole(node.values["over"](scope), scope))
        if isinstance(found, dict):
            ordered = sorted(found)
            values = [{"key": key, "value": found[key]} for key in ordered]
            keys = tuple(ordered) if config.result == "object" else None
        elif not isinstance(found, list):
            raise ExpressionError(f"`over` must be a list or an object, it is {kind_of(found)}")
        elif config.result == "object":
            raise ExpressionError("`result: object` needs an object in `over`, it is a list")
        else:
            values = found
    if config.batches is not None:
        values = [values[at : at + config.batches] for at in range(0, len(values), config.batches)]
    return Items(config.item, values, fitting(keys, "the list of keys of `over`"))


def _numbers(given: dict[str, Any], scope: Scope) -> list[Any]:
    numbers = [in_field(name, _whole_number, _whole(given[name], scope)) for name in _NUMBERS]
    if not numbers[2]:
        raise ExpressionError("`step` is 0, so the range would not end")
    found = range(*numbers)
    try:
        count = len(found)
    except OverflowError:
        count = ITEMS_MAX + 1
    if count > ITEMS_MAX:
        raise ExpressionError(f"from {numbers[0]} to {numbers[1]} by {numbers[2]} is more than {ITEMS_MAX:,} numbers")
    return list(found)


def _whole_number(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():  # as clients send a number
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ExpressionError(f"must be a whole number, it is {kind_of(value)}")
    return value


def _side_by_side(given: dict[str, Any], scope: Scope) -> list[Any]:
    lists = {name: _whole(value, scope) for name, value in given.items()}
    for name, value in lists.items():
        if not isinstance(value, list):
            raise ExpressionError(f"{name!r} must be a list, it is {kind_of(value)}")
    if len({len(value) for value in lists.values()}) > 1:
        text = " and ".join(f"{name!r} has {len(value):,}" for name, value in lists.items())
        raise ExpressionError(f"the lists have different lengths: {text}")
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _mapped_input(node: PlanNode, inputs: dict[str, Any], scope: Scope) -> Items:
    """Returns the items of a parallel step, and the input that it maps over.

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
    return Items(name, items)


def _lists_of(value: Any) -> list[list[Any]]:
    return [part for part in value.values() if isinstance(part, list)] if isinstance(value, dict) else []


def _whole(value: Any, scope: Scope) -> Any:
    """Returns the value itself if it is a marker. Markers inside of it stay."""
    return scope.inside(value) if isinstance(value, dict) and MARKER in value else value
