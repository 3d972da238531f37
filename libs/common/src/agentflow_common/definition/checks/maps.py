"""Checks of map nodes: what gives the items, and the names that they have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Set
from typing import Any

from agentflow_common.definition.checks.names import INDEX, local_findings, refers
from agentflow_common.definition.checks.values import Values
from agentflow_common.definition.nodes.base import ITEMS_MAX, MAP_LEVELS_MAX
from agentflow_common.definition.nodes.calls import map_items, map_levels
from agentflow_common.definition.nodes.configs import MapWork, Range
from agentflow_common.definition.nodes.types import MapNode
from agentflow_common.places import Finding, Place


def map_findings(
    here: Place, node: MapNode, values: Values, sent: Set[str], steps: Collection[str]
) -> Iterator[Finding]:
    """Yields the problems of a map and of the maps in it.

    values: the checks outside of the node.
    sent: the names that edges of a graph give the node.
    """
    taken: dict[str, str] = {}  # the names of the maps around, and what they stand for
    for number, config in enumerate(map_levels(node)):
        if number == MAP_LEVELS_MAX:
            text = f"maps are nested more than {MAP_LEVELS_MAX} deep"
            yield here, text, "put the inner ones into a workflow of their own, and use it as a subworkflow"
            return
        yield from _level(here, config, values.inside(node.id, frozenset({*sent, *taken})), {*sent, *taken})
        yield from _names(here, config, steps, taken)
        taken |= {config.item: "the item of the map around it", config.index: "the number in the map around it"}
        here = (*here, "body", "config")


def _level(here: Place, config: MapWork, values: Values, around: Set[str]) -> Iterator[Finding]:
    yield from _items(here, config)
    for field, value in map_items(config).items():
        yield from values.check((*here, field), value)
    yield from values.condition((*here, "item_condition"), config.item_condition, around | {config.item, config.index})
    if config.max_failures is not None and config.on_item_failure == "fail":
        yield (*here, "max_failures"), "`max_failures` needs `on_item_failure: continue`", "add it"


def _names(here: Place, config: MapWork, steps: Collection[str], taken: Mapping[str, str]) -> Iterator[Finding]:
    """Yields names that can't be read. `index` alone may be that of a map around it, too: it is the innermost one's."""
    yield from local_findings((*here, "item"), config.item, steps, {**taken, config.index: INDEX})
    if config.index != "index":
        yield from local_findings((*here, "index"), config.index, steps, taken)


def _items(here: Place, config: MapWork) -> Iterator[Finding]:
    given = [name for name in ("over", "zip", "range") if getattr(config, name) is not None]
    if len(given) != 1:
        found = f"`{'` and `'.join(given)}`, not both" if given else "none is given"
        yield here, f"a map takes its items from one of `over`, `zip` and `range`: {found}", "give one of them"
    elif config.range is not None:
        yield from _range((*here, "range"), config.range)
    elif config.zip is not None:
        yield from _zip((*here, "zip"), config.zip)
    else:
        yield from _list((*here, "over"), config.over, (list, str, dict))
    if config.result == "object":
        other = "`batches`" if config.batches is not None else f"`{given[0]}`" if given and given != ["over"] else ""
        if other:
            text = f"`result: object` needs an object in `over`, and does not go with {other}"
            yield (*here, "result"), text, "remove one of them"


def _list(place: Place, value: Any, types: tuple[type, ...]) -> Iterator[Finding]:
    plain = isinstance(value, str) and not refers(value)
    if plain or not isinstance(value, types):
        fix = f'write {place[-1]}: "{{{{{value}}}}}"' if plain else f"for example {place[-1]}: split.output.chunks"
        yield place, f"`{place[-1]}` must be a list, or refer to one", fix


def _zip(here: Place, lists: dict[str, Any]) -> Iterator[Finding]:
    for name, value in lists.items():
        yield from _list((*here, name), value, (list, str))
    lengths = {name: len(value) for name, value in lists.items() if isinstance(value, list)}
    if len(set(lengths.values())) > 1:
        text = " and ".join(f"{name!r} has {length}" for name, length in lengths.items())
        yield here, f"the lists have different lengths: {text}", "give each list an item for each item of the others"


def _range(here: Place, given: Range) -> Iterator[Finding]:
    numbers: dict[str, int] = {}
    for name in ("start", "stop", "step"):
        value = getattr(given, name)
        if isinstance(value, int):
            numbers[name] = value
        elif not refers(value):
            yield (*here, name), f"{value!r} is a text", f"write a whole number, or a template: {{{{{name}}}}}"
    if numbers.get("step") == 0:
        yield (*here, "step"), "a range does not get on by 0", "write 1, or another number"
    elif len(numbers) == 3 and (count := len(range(numbers["start"], numbers["stop"], numbers["step"]))) > ITEMS_MAX:
        yield here, f"the range has {count:,} numbers, the limit is {ITEMS_MAX:,}", "use a larger `step`"
