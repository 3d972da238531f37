"""Subworkflows: every definition that a run may start is resolved and pinned when the run is submitted.

`nesting` judges the finished graph of references without I/O: at most DEPTH_MAX runs stand in each other, and none in
itself. Labels are resolved for the run that is submitted, so all of its subworkflows agree.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from agentflow_common.definition import Definition
from agentflow_common.errors import NotFoundError, Problem

DEPTH_MAX: Final = 8  # runs that stand in each other, the submitted one not counted
COUNT_MAX: Final = 64
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
                found = await find(ref)
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
    for item in found.values():
        targets[item.digest] = [found[ref].digest for ref in item.definition.workflow_refs() if ref in found]
    deepest: dict[str, list[str]] = {}  # the longest chain below each definition, itself first
    path: list[str] = []

    def visit(node: str) -> list[str] | None:
        """A chain that comes back to one of its own, or None."""
        if node in path:
            return [*path[path.index(node) :], node]
        if node in deepest:
            return None
        path.append(node)
        below: list[str] = []
        for target in targets[node]:
            if (loop := visit(target)) is not None:
                return loop
            below = max(below, deepest[target], key=len)
        path.pop()
        deepest[node] = [node, *below]
        return None

    if (loop := visit(digest)) is not None:
        chain = " -> ".join(names[item] for item in loop)
        fix = "let it go on as a loop node, or with `continue_as_new`"
        return [Problem("dag.nodes", f"a subworkflow would start itself without a bound: {chain}", fix)]
    longest = deepest[digest]
    if len(longest) - 1 > DEPTH_MAX:
        chain = " -> ".join(names[item] for item in longest)
        fix = "put some of these levels into one workflow"
        return [Problem("dag.nodes", f"subworkflows stand {len(longest) - 1} deep, over {DEPTH_MAX}: {chain}", fix)]
    return []


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
            if name not in work.config.inputs and spec.required and spec.default is None:
                problems.append(Problem(place, f"{title(child)} needs the input {name!r}", f"add `{name}:`"))
    return problems
