"""The steps and links of one workflow, as every importer makes them, and the definition that follows from them.

Some steps do nothing: the start, a choice, the place where branches meet. They are left out of the definition, and the
links through them become edges from each step before to each step behind, with both conditions. Where that can't be
said by edges, the step stays as a wait of no time. Pure.
"""

from __future__ import annotations

import keyword
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from agentctl.importers.expression import Expr, UntranslatableError, both, condition, either, is_large
from agentctl.importers.source import Part
from agentflow_common.definition.checks.names import OF_CONDITIONS, OF_TEMPLATES
from agentflow_common.definition.model import BUILT_IN
from agentflow_common.definition.nodes.base import MAP_LEVELS_MAX, PROMPT_REF
from agentflow_common.expressions.language import parse_reference

START: Final = "start"
ITERATIONS: Final = 1_000  # for a loop of an engine that has no bound; the most that a definition allows
LEVELS_MAX: Final = MAP_LEVELS_MAX  # a map, a map in it, ...
_LINKS_MAX: Final = 6  # a step in between with more links through it stays a step
STEPS_MAX: Final = 2_000  # of a flow, with those that do nothing
_RESERVED: Final = {
    *OF_TEMPLATES, *OF_CONDITIONS, *BUILT_IN, "self", "item", "index", "iteration", "previous", "output", "END",
    *(f"{name}_{level}" for name in ("item", "index") for level in range(2, MAP_LEVELS_MAX + 1)),
}  # fmt: skip
_NAME_CHARS_MAX: Final = 56


def name_of(wanted: str) -> str:
    """Returns a name that a workflow, a node or an input may have, and that templates can read.

    Long names that differ only at their end stay different.
    """
    found = _identifier(wanted)
    return f"{found}_step" if found in _RESERVED else found


def argument_of(wanted: str) -> str:
    """Returns the name of an argument of a tool or a function: the engine's own, if Python can have it."""
    found = _identifier(wanted)
    return f"{found}_step" if keyword.iskeyword(found) else found


def _identifier(wanted: str) -> str:
    found = re.sub(r"[^A-Za-z0-9_]+", "_", wanted).strip("_") or "step"
    if len(found) > _NAME_CHARS_MAX:
        found = f"{found[: _NAME_CHARS_MAX - 9]}_{zlib.crc32(wanted.encode(errors='replace')):08x}"
    return f"_{found}" if found[0].isdigit() else found


def item_of(level: int, name: str = "item") -> str:
    """Returns the name of the item, or of the `index`, of a map. level: 1 for a map in no other one."""
    return name if level == 1 else f"{name}_{level}"


def names_at(level: int) -> dict[str, str]:
    """Returns the fields of a map that give its item and number names of their own in the maps around it."""
    return {} if level == 1 else {name: item_of(level, name) for name in ("item", "index")}


@dataclass(slots=True)
class Step:
    """A step of a flow. Without `node` it does nothing."""

    id: str
    node: dict[str, Any] | None
    part: Part


@dataclass(slots=True)
class Link:
    """A link from one step to another."""

    source: str
    target: str
    when: Expr | None = None
    back: int = 0  # how often it may be taken, for a link that goes back


@dataclass(slots=True)
class Flow:
    """One workflow that is being made."""

    name: str
    part: Part
    description: str = ""
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    """Other fields of the definition, such as `deadline_ms`."""
    taken: frozenset[str] = frozenset()
    """Ids that its steps may not have."""
    at_end: Flow | None = None
    """The steps that run when the run ends."""
    locks: dict[str, list[str]] = field(default_factory=dict)
    """Keys of locks, each with the steps that it is for; no step for all of them."""
    steps: dict[str, Step] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.add(START, None, self.part)

    def add(self, wanted: str, node: dict[str, Any] | None, part: Part) -> str:
        """Adds a step, and returns its id. node: all of it but the id."""
        if len(self.steps) >= STEPS_MAX:
            raise part.wrong(f"more than {STEPS_MAX:,} steps", "split the workflow into several")
        base = START if not self.steps else name_of(wanted)
        found, number = base, 1
        while found in self.steps or found in self.inputs or (found in self.taken and found != START):
            number += 1
            found = f"{base}_{number}"
        if node is not None and found != wanted and not node.get("name"):
            node = {**node, "name": wanted}
        self.steps[found] = Step(found, node, part)
        return found

    def then(self, source: str, wanted: str, node: dict[str, Any] | None, part: Part, when: Expr | None = None) -> str:
        """Adds a step behind another one, and returns its id."""
        found = self.add(wanted, node, part)
        self.link(source, found, when)
        return found

    def link(self, source: str, target: str, when: Expr | None = None, back: int = 0) -> None:
        """Adds a link, or lets the one that is there be taken in this case too."""
        for known in self.links:
            if (known.source, known.target, bool(known.back)) == (source, target, bool(back)):
                known.when = either(known.when, when)
                return
        self.links.append(Link(source, target, when, back))

    def ending(self, part: Part) -> Flow:
        """Returns the flow of the steps that run when the run ends. The other steps must be there already."""
        self.at_end = Flow(self.name, part, taken=frozenset({*self.steps, *self.inputs}))
        return self.at_end

    def definition(self) -> dict[str, Any]:
        """Returns the definition as plain data."""
        nodes, edges = self._nodes_and_edges()
        if self.at_end is not None:
            last, between = self.at_end._nodes_and_edges()
            own = name_of(f"end_of_{self.name}")  # instead of `start`, which both may have
            nodes += [{**node, "id": own if node["id"] == START else node["id"], "finally": True} for node in last]
            edges += [{**edge, "from": own} if edge["from"] == START else edge for edge in between]
        data: dict[str, Any] = {"name": name_of(self.name), "version": 1}
        data |= {"description": self.description} if self.description else {}
        data |= {"inputs": self.inputs} if self.inputs else {}
        data |= {"outputs": self.outputs} if self.outputs else {}
        data |= self.more
        ids = [node["id"] for node in nodes if not node.get("finally")]
        held = {key: [name for name in ids if name in steps or not steps] for key, steps in self.locks.items()}
        locks = [{"key": key, "nodes": found} for key, found in held.items() if found]
        data |= {"lock": locks} if locks else {}
        return {**data, "dag": {"nodes": nodes, **({"edges": edges} if edges else {})}}

    def _nodes_and_edges(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        self._drop_unreachable()
        self._mark_links_back()
        self._join_links_back()
        for step in [step for step in self.steps.values() if step.node is None and step.id != START]:
            self._leave_out(step)
        self._leave_out_start()
        return [self._node(step) for step in self.steps.values()], [self._edge(link) for link in self.links]

    def _drop_unreachable(self) -> None:
        targets: dict[str, list[str]] = {}
        for link in self.links:
            targets.setdefault(link.source, []).append(link.target)
        reached, ahead = {START}, [START]
        while ahead:
            for target in targets.get(ahead.pop(), ()):
                if target not in reached:
                    reached.add(target)
                    ahead.append(target)
        for name in [name for name in self.steps if name not in reached]:
            step = self.steps.pop(name)
            if step.node is not None:
                step.part.remark(f"nothing leads to {name!r}, so it is left out", "let a step lead to it, or ignore it")
        self.links = [link for link in self.links if link.source in reached]

    def _mark_links_back(self) -> None:
        """Marks each link that closes a circle, unless the importer did."""
        ahead: dict[str, list[Link]] = {}
        for link in self.links:
            if not link.back:
                ahead.setdefault(link.source, []).append(link)
        done: set[str] = set()
        path = {START}
        stack: list[tuple[str, Iterator[Link]]] = [(START, iter(ahead.get(START, ())))]
        while stack:
            name, links = stack[-1]
            following = next(links, None)
            if following is None:
                stack.pop()
                path.discard(name)
                done.add(name)
            elif following.target in path:
                following.back = ITERATIONS
                title = following.target.removeprefix("enter_")
                self.steps[following.source].part.remark(
                    f"the loop back to {title!r} had no bound; here it ends after {ITERATIONS:,} rounds",
                    "set `max_iterations` of the edge; `continue_as_new` goes on forever",
                )
            elif following.target not in done:
                path.add(following.target)
                stack.append((following.target, iter(ahead.get(following.target, ()))))

    def _join_links_back(self) -> None:
        """Lets all loops to one step go back from the same place, because loops may not overlap."""
        for target in dict.fromkeys(link.target for link in self.links if link.back):
            back = [link for link in self.links if link.back and link.target == target]
            if len(back) > 1:
                again = self.add("again", None, self.steps[back[0].source].part)
                self.links = [link for link in self.links if link not in back]
                for link in back:
                    self.link(link.source, again, link.when)
                self.link(again, target, None, max(link.back for link in back))

    def _around(self, name: str) -> tuple[list[Link], list[Link]]:
        return [link for link in self.links if link.target == name], [
            link for link in self.links if link.source == name
        ]

    def _leave_out(self, step: Step) -> None:
        before, behind = self._around(step.id)
        entered_back = any(link.back for link in before)
        left_back = any(link.back for link in behind)
        only = len(behind) == 1 and behind[0].when is None
        if len(before) * len(behind) > _LINKS_MAX or (entered_back and not only) or (left_back and len(before) > 1):
            return
        if not only and any(is_large(both(first.when, second.when)) for first in before for second in behind):
            return
        del self.steps[step.id]
        self.links = [link for link in self.links if step.id not in (link.source, link.target)]
        for first in before:
            for second in behind:
                self.link(first.source, second.target, both(first.when, second.when), first.back or second.back)

    def _leave_out_start(self) -> None:
        _, behind = self._around(START)
        for link in behind:
            before, _ = self._around(link.target)
            if len([other for other in before if not other.back]) > 1:
                return
        for link in behind:
            step = self.steps[link.target]
            if link.when is not None:
                step.node = {**(step.node or {}), "condition": condition_of(link.when, step.part)}
        if len(self.steps) > 1:
            del self.steps[START]
            self.links = [link for link in self.links if link.source != START]

    def _node(self, step: Step) -> dict[str, Any]:
        node = step.node or {}
        if "type" not in node:
            node = {"type": "wait", "config": {"duration": 0}, **node}
        first = {"id": step.id, **({"name": node["name"]} if "name" in node else {}), "type": node["type"]}
        return {**first, **{name: value for name, value in node.items() if name not in first and name != "id"}}

    def _edge(self, link: Link) -> dict[str, Any]:
        edge: dict[str, Any] = {"from": link.source, "to": link.target}
        if link.when is not None or link.back:
            part = self.steps[link.source].part
            edge["condition"] = "true" if link.when is None else condition_of(link.when, part)
        if link.back:
            edge["max_iterations"] = link.back
        return edge


def condition_of(expr: Expr, part: Part) -> str:
    """Returns a condition in CEL, or one that never holds, with a remark, if CEL can't say it."""
    try:
        return condition(expr)
    except UntranslatableError as error:
        part.remark(f"a condition can't be written in CEL: {error}", "write it yourself; here it never holds")
        return "false"


def translated(part: Part, read: Callable[[], Expr], instead: Expr, what: str = "the expression") -> Expr:
    """Returns an expression, or `instead` with a remark if it can't be translated."""
    try:
        return read()
    except UntranslatableError as error:
        shown = str(part.value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        part.remark(f"{what} {shown!r} is not translated: {error}", "write it yourself, or compute it in a function")
        return instead


def asked(text: Any) -> dict[str, Any] | None:
    """Returns the part of an llm node's configuration with the text of its prompt; None if it is not a text."""
    if not isinstance(text, str) or not text.strip():
        return None
    text = f"{{{{{text}}}}}" if parse_reference(text) is not None else text
    return None if re.match(PROMPT_REF, text) else {"prompt": text}
