"""Subworkflows: every definition that a run may start is resolved and pinned when the run is submitted.

`nesting` judges the finished graph of references without I/O: at most DEPTH_MAX runs stand in each other. A workflow
that starts itself has to do so under a condition; how deep it goes, the scheduler bounds then. Labels are resolved for
the run that is submitted, so all of its subworkflows agree; its own name means this very definition to itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from agentflow_common.definition.dependencies import dependencies
from agentflow_common.definition.model import Definition
from agentflow_common.errors import NotFoundError, Problem

DEPTH_MAX: Final = 8  # runs that stand in each other, the submitted one not counted
COUNT_MAX: Final = 64
_PASSES_MAX: Final = 50  # over a definition's nodes; what is not found to be sure by then counts as conditional
PINNED_BYTES_MAX: Final = 4 * 1024 * 1024  # all definitions of a run; the server takes messages of 8 MiB

Find = Callable[[str], Awaitable["Found"]]


class Found(msgspec.Struct, frozen=True):
    """A registered definition. digest: tells it from others, however it was named."""

    definition: Definition
    canonical: dict[str, Any]
    digest: str


class Pinned(msgspec.Struct):
    """definitions: by reference, as the nodes write it. found: the same, read. problems: why the run can't start."""

    definitions: dict[str, dict[str, Any]] = {}
    found: dict[str, Found] = {}
    problems: tuple[Problem, ...] = ()


def title(definition: Definition) -> str:
    return f"{definition.name}@{definition.version}"


async def pin(root: Definition, digest: str, find: Find) -> Pinned:
    """Everything that the definition starts as subworkflows, and what those start. find: raises NotFoundError."""
    pinned = Pinned(definitions={}, found={})
    todo = [(root, "")]
    problems: list[Problem] = []
    size = 0
    while todo:
        owner, within = todo.pop(0)
        for ref in owner.workflow_refs():
            if ref in pinned.found or any(p.place == _place(owner, ref, within) for p in problems):
                continue
            if len(pinned.found) >= COUNT_MAX:
                fix = "give the work of some of them to steps of one workflow"
                problems.append(Problem(_place(owner, ref, within), f"more than {COUNT_MAX} subworkflows in all", fix))
                return Pinned(problems=tuple(problems))
            try:
                own = owner is root and ref in {root.name, title(root)}
                found = Found(root, root.canonical(), digest) if own else await find(ref)
            except NotFoundError as error:
                problems.append(Problem(_place(owner, ref, within), error.message))
                continue
            size += len(msgspec.json.encode(found.canonical))
            pinned.found[ref], pinned.definitions[ref] = found, found.canonical
            todo.append((found.definition, f"{within}{title(owner)} -> "))
    if size > PINNED_BYTES_MAX:
        fix = "move data from the definitions to inputs or files"
        problems.append(Problem("dag.nodes", f"its subworkflows are {size:,} bytes, over {PINNED_BYTES_MAX:,}", fix))
    problems += nesting(root, digest, pinned.found)
    problems += [*argument_problems(root, pinned.found, "")]
    for found in pinned.found.values():
        problems += argument_problems(found.definition, pinned.found, f"{title(found.definition)}: ")
    pinned.problems = tuple(problems)
    return pinned


def _place(owner: Definition, ref: str, within: str) -> str:
    for number, work in owner.works():
        if work.type == "subworkflow" and work.config.workflow == ref:
            path = f"dag.nodes[{number}].{'.'.join(work.path)}.workflow"
            return f"{within}{title(owner)}: {path}" if within else path
    return within


def nesting(root: Definition, digest: str, found: Mapping[str, Found]) -> list[Problem]:
    """Problems of a run that would stand in itself, or in too many others; each names the chain."""
    names = {digest: title(root)} | {item.digest: title(item.definition) for item in found.values()}
    targets = {digest: [found[ref].digest for ref in root.workflow_refs() if ref in found]}
    of = {digest: root} | {item.digest: item.definition for item in found.values()}
    for item in found.values():
        targets[item.digest] = [found[ref].digest for ref in item.definition.workflow_refs() if ref in found]
    if _cycle(targets, [digest]) is not None:
        sure = {key: [found[ref].digest for ref in _surely_started(item) if ref in found] for key, item in of.items()}
        if (loop := _cycle(sure, _reached(digest, targets))) is not None:
            chain = " -> ".join(names[item] for item in loop)
            fix = "give one of these steps a condition, or let it go on as a loop node, or with `continue_as_new`"
            return [Problem("dag.nodes", f"a subworkflow would start itself without a bound: {chain}", fix)]
        return []
    longest = _longest(digest, targets, {})
    if len(longest) - 1 > DEPTH_MAX:
        chain = " -> ".join(names[item] for item in longest)
        fix = "put some of these levels into one workflow"
        return [Problem("dag.nodes", f"subworkflows stand {len(longest) - 1} deep, over {DEPTH_MAX}: {chain}", fix)]
    return []


def _reached(start: str, targets: Mapping[str, list[str]]) -> list[str]:
    reached = {start: None}
    todo = [start]
    while todo:
        new = [target for target in targets[todo.pop()] if target not in reached]
        reached.update(dict.fromkeys(new))
        todo.extend(new)
    return list(reached)


def _cycle(targets: Mapping[str, list[str]], starts: Iterable[str]) -> list[str] | None:
    """A chain that comes back to where it began, if one of these leads to it."""
    done: set[str] = set()
    path: list[str] = []

    def visit(node: str) -> list[str] | None:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return None
        path.append(node)
        for target in targets[node]:
            if (loop := visit(target)) is not None:
                return loop
        path.pop()
        done.add(node)
        return None

    return next((loop for node in starts if (loop := visit(node)) is not None), None)


def _longest(node: str, targets: Mapping[str, list[str]], known: dict[str, list[str]]) -> list[str]:
    """The longest chain from this definition on, itself first."""
    if node not in known:
        below = [_longest(target, targets, known) for target in targets[node]]
        known[node] = [node, *max(below, key=len, default=[])]
    return known[node]


def _surely_started(definition: Definition) -> set[str]:
    """The references to workflows that every run of it starts, whatever it is given."""
    conditions = {node.id: node.condition or node.config.condition for node in definition.dag.nodes}
    into: dict[str, list[tuple[str, str | None]]] = dependencies(definition)
    sure: set[str] = set()
    for _ in range(_PASSES_MAX):
        before = len(sure)
        for node in definition.dag.nodes:
            sources = into[node.id]
            first = definition.graph.entry_point == node.id if definition.graph is not None else not sources
            if conditions[node.id] is None and (first or any(s in sure and c is None for s, c in sources)):
                sure.add(node.id)
        if len(sure) == before:
            break
    started: set[str] = set()
    for node in definition.dag.nodes:
        config: Any = node.config
        if node.id not in sure or getattr(config, "parallel", False):
            continue
        if node.type == "subworkflow":
            started.add(config.workflow)
        elif node.type == "loop" and config.while_ is None and config.body.type == "subworkflow":
            started.add(config.body.config.workflow)
    return started


def argument_problems(owner: Definition, found: Mapping[str, Found], prefix: str) -> list[Problem]:
    """Arguments that a subworkflow does not take, and those that it needs and does not get."""
    problems: list[Problem] = []
    for number, work in owner.works():
        if work.type != "subworkflow" or work.config.workflow not in found:
            continue
        child = found[work.config.workflow].definition
        if not child.inputs:
            continue
        place = f"{prefix}dag.nodes[{number}].{'.'.join(work.path)}.inputs"
        for name in work.config.inputs:
            if name not in child.inputs:
                fix = f"its inputs are {', '.join(child.inputs)}"
                problems.append(Problem(f"{place}.{name}", f"{title(child)} has no such input", fix))
        for name, spec in child.inputs.items():
            if work.config.state_args:  # the shared state may have it
                break
            if name not in work.config.inputs and spec.required and spec.default is None:
                problems.append(Problem(place, f"{title(child)} needs the input {name!r}", f"add `{name}:`"))
    return problems
