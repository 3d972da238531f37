"""Subworkflows: every definition that a run may start is resolved and pinned when the run is submitted.

`nesting` judges the finished graph of references without I/O: runs are nested at most as deep as the setting
SUBWORKFLOW_DEPTH_MAX says. A workflow that starts itself must do so under a condition; the scheduler then bounds how
deep it goes. Labels are resolved for the run that is submitted, so all of its subworkflows agree. Its own name means
this very definition.
"""

from __future__ import annotations

import graphlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from agentflow_common.definition.dependencies import dependencies
from agentflow_common.definition.inputs import problems_before_it_runs
from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.base import SUBWORKFLOW_DEPTH_MAX
from agentflow_common.errors import NotFoundError, Problem

COUNT_MAX: Final = 64
_PASSES_MAX: Final = 50  # over a definition's nodes; a node that is not known to start by then counts as conditional
PINNED_BYTES_MAX: Final = 4 * 1024 * 1024  # all definitions of a run; the server takes messages of 8 MiB

Find = Callable[[str], Awaitable["Registered"]]


class Registered(msgspec.Struct, frozen=True):
    """A registered definition. Its digest identifies it under every name."""

    definition: Definition
    canonical: dict[str, Any]
    digest: str


class Pinned(msgspec.Struct):
    definitions: dict[str, dict[str, Any]] = {}  # by reference, as the nodes write it
    registered: dict[str, Registered] = {}  # the same, read
    problems: tuple[Problem, ...] = ()  # why the run can't start


def title(definition: Definition) -> str:
    return f"{definition.name}@{definition.version}"


async def pin(root: Definition, digest: str, find: Find, depth_max: int = SUBWORKFLOW_DEPTH_MAX) -> Pinned:
    """Returns every definition that this one starts as a subworkflow, directly or through others.

    find: raises NotFoundError for an unknown reference. depth_max: levels of runs below this one.
    """
    pinned = Pinned(definitions={}, registered={})
    todo = [(root, "")]
    problems: list[Problem] = []
    size = 0
    while todo:
        owner, within = todo.pop(0)
        for ref in owner.workflow_refs():
            place = _place(owner, ref, within)
            if ref in pinned.registered or any(problem.place == place for problem in problems):
                continue
            if len(pinned.registered) >= COUNT_MAX:
                fix = "give the work of some of them to steps of one workflow"
                problems.append(Problem(place, f"more than {COUNT_MAX} subworkflows in all", fix))
                return Pinned(problems=tuple(problems))
            try:
                own = owner is root and ref in {root.name, title(root)}
                target = Registered(root, root.canonical(), digest) if own else await find(ref)
            except NotFoundError as error:
                problems.append(Problem(place, error.message))
                continue
            size += len(msgspec.json.encode(target.canonical))
            pinned.registered[ref], pinned.definitions[ref] = target, target.canonical
            todo.append((target.definition, f"{within}{title(owner)} -> "))
    if size > PINNED_BYTES_MAX:
        fix = "move data from the definitions to inputs or files"
        text = f"its subworkflows have {size:,} bytes, the limit is {PINNED_BYTES_MAX:,}"
        problems.append(Problem("dag.nodes", text, fix))
    problems += nesting(root, digest, pinned.registered, depth_max)
    problems += argument_problems(root, pinned.registered, "")
    for target in pinned.registered.values():
        problems += argument_problems(target.definition, pinned.registered, f"{title(target.definition)}: ")
    pinned.problems = tuple(problems)
    return pinned


def _place(owner: Definition, ref: str, within: str) -> str:
    for number, work in owner.works():
        if work.type == "subworkflow" and work.config.workflow == ref:
            path = f"dag.nodes[{number}].{'.'.join(work.path)}.workflow"
            return f"{within}{title(owner)}: {path}" if within else path
    return within


def nesting(
    root: Definition, digest: str, registered: Mapping[str, Registered], depth_max: int = SUBWORKFLOW_DEPTH_MAX
) -> list[Problem]:
    """Returns problems of a run that would start itself, or nest too many others; each names the chain.

    registered: what the root leads to, by reference.
    """
    definitions = {digest: root} | {item.digest: item.definition for item in registered.values()}

    def targets_of(refs: Callable[[Definition], Iterable[str]]) -> dict[str, list[str]]:
        return {
            key: [registered[ref].digest for ref in refs(definition) if ref in registered]
            for key, definition in definitions.items()
        }

    def chain(path: Iterable[str]) -> str:
        return " -> ".join(title(definitions[key]) for key in path)

    targets = targets_of(Definition.workflow_refs)
    if _cycle(targets) is not None:
        if (loop := _cycle(targets_of(_surely_started))) is not None:
            text = f"a subworkflow would start itself without a bound: {chain(loop)}"
            fix = "give one of these steps a condition, or let it continue as a loop node, or with `continue_as_new`"
            return [Problem("dag.nodes", text, fix)]
        return []
    longest = _longest(targets)
    depth = len(longest) - 1
    if depth > depth_max:
        text = f"subworkflows are nested {depth} deep, the limit is {depth_max}: {chain(longest)}"
        fix = "put some of these levels into one workflow, or raise the setting SUBWORKFLOW_DEPTH_MAX"
        return [Problem("dag.nodes", text, fix)]
    return []


def _cycle(targets: Mapping[str, list[str]]) -> list[str] | None:
    """Returns a chain that comes back to its beginning, beginning at the node that is listed first."""
    try:
        graphlib.TopologicalSorter(targets).prepare()
    except graphlib.CycleError as error:
        loop: list[str] = error.args[1][:0:-1]  # it names each node before the one that leads to it
        first = loop.index(next(node for node in targets if node in loop))
        return [*loop[first:], *loop[: first + 1]]
    return None


def _longest(targets: Mapping[str, list[str]]) -> list[str]:
    """Returns the longest chain. The graph must have no cycle."""
    longest: dict[str, list[str]] = {}
    for node in graphlib.TopologicalSorter(targets).static_order():
        longest[node] = [node, *max((longest[target] for target in targets[node]), key=len, default=[])]
    return max(longest.values(), key=len)


def _surely_started(definition: Definition) -> set[str]:
    """Returns the references to workflows that every run of it starts, for any inputs."""
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


def argument_problems(owner: Definition, registered: Mapping[str, Registered], prefix: str) -> Iterator[Problem]:
    """Yields a problem for each argument that a subworkflow does not take, or that does not fit, and for each that it
    needs and lacks.
    """
    for number, work in owner.works():
        if work.type != "subworkflow" or work.config.workflow not in registered:
            continue
        child = registered[work.config.workflow].definition
        if not child.inputs:
            continue
        place = f"{prefix}dag.nodes[{number}].{'.'.join(work.path)}.inputs"
        config: Any = owner.dag.nodes[number].config
        spread = work.path == ("config",) and getattr(config, "parallel", False)  # one of the lists is given in parts
        for name, value in work.config.inputs.items():
            if name not in child.inputs:
                fix = f"its inputs are {', '.join(child.inputs)}"
                yield Problem(f"{place}.{name}", f"{title(child)} has no such input", fix)
            elif not spread:
                for problem in problems_before_it_runs(child.inputs[name], name, value):
                    where = f"{place}{problem.place.removeprefix('inputs')}"
                    yield Problem(where, f"{title(child)}: {problem.message}", problem.fix)
        for name, spec in child.inputs.items():
            if work.config.state_args:  # the shared state may have it
                break
            if name not in work.config.inputs and spec.required and spec.default is None:
                yield Problem(place, f"{title(child)} needs the input {name!r}", f"add `{name}:`")
