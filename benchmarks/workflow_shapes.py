"""Workflows in WfFormat (wfcommons.org, schemas 1.0 to 1.5): tasks and lower bounds of the
makespan.

Pure.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from agentflow_common.definition.parse import parse_dict


class Task(NamedTuple):
    """A task of a workflow."""

    id: str
    parents: tuple[int, ...]  # indices of earlier tasks
    seconds: float  # the runtime in the workflow


def parse(data: object, default_s: float | None = None) -> list[Task]:
    """Returns the tasks, parents first. Raises ValueError if it is not WfFormat, or has a cycle.

    Schema 1.5 has edges in `workflow.specification` and runtimes in `workflow.execution`. Earlier
    ones have both in `workflow.tasks` (1.0: `workflow.jobs`). Edges name a task by its id, or by
    its name if only one task has it. default_s: the runtime of tasks without one, which is an error
    otherwise.
    """
    workflow = data.get("workflow") if isinstance(data, Mapping) else None
    if not isinstance(workflow, Mapping):
        raise ValueError("not WfFormat: there is no object `workflow`")
    specified, executed = _parts(workflow)
    ids = _aliases(specified)
    stated = {ids.get(name, name): task for name, task in executed.items()}
    seconds = {name: _runtime(name, stated.get(name, {}), default_s) for name in specified}
    parents: dict[str, set[str]] = {name: _names(ids, name, task, "parents") for name, task in specified.items()}
    for name, task in specified.items():
        for child in _names(ids, name, task, "children"):  # some writers give an edge on one side only
            parents.setdefault(child, set()).add(name)
    unknown = sorted({name for of in parents.values() for name in of}.union(parents) - set(specified))
    if unknown:
        raise ValueError(f"parents or children that name no task, or several: {_some(unknown)}")
    position = {name: index for index, name in enumerate(_ordered(parents))}
    return [Task(name, tuple(sorted(position[parent] for parent in parents[name])), seconds[name]) for name in position]


def _parts(workflow: Mapping[str, Any]) -> tuple[dict[str, Mapping[str, Any]], dict[str, Mapping[str, Any]]]:
    """Returns the objects with the edges and those with the runtimes, by task.

    In schema 1.4 they are the same.
    """
    if "specification" not in workflow:
        where = "workflow.jobs" if "jobs" in workflow and "tasks" not in workflow else "workflow.tasks"
        both = _by_id(where, workflow.get(where.split(".")[1]))
        return both, both
    parts = [workflow.get(name) or {} for name in ("specification", "execution")]
    edges, runtimes = [part.get("tasks") if isinstance(part, Mapping) else None for part in parts]
    specified = _by_id("workflow.specification.tasks", edges)
    return specified, {} if parts[1] == {} else _by_id("workflow.execution.tasks", runtimes)


def _by_id(where: str, tasks: Any) -> dict[str, Mapping[str, Any]]:
    if not isinstance(tasks, list) or not tasks:
        raise ValueError(f"not WfFormat: `{where}` must be a list with a task or more")
    found: dict[str, Mapping[str, Any]] = {}
    for number, task in enumerate(tasks):
        name = task.get("id", task.get("name")) if isinstance(task, Mapping) else None
        if name is None:
            raise ValueError(f"task {number} of `{where}` has neither `id` nor `name`")
        if str(name) in found:
            raise ValueError(f"two tasks of `{where}` are called {name}")
        found[str(name)] = task
    return found


def _runtime(name: str, task: Mapping[str, Any], default_s: float | None) -> float:
    """Returns `runtimeInSeconds`, or `runtime` before schema 1.4. A number in quotes counts."""
    stated = task.get("runtimeInSeconds", task.get("runtime"))
    if stated is None and default_s is not None:
        return default_s
    if stated is None:
        raise ValueError(f"task {name} has no `runtimeInSeconds`: set one with --default-runtime SECONDS")
    try:
        seconds = math.nan if isinstance(stated, bool) else float(stated)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"task {name}: `runtimeInSeconds` must be a number of seconds, 0 or more, not {stated!r}")
    return seconds


def _aliases(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Returns ids by name, for names that only one task has and that are not ids."""
    counts = Counter(str(task.get("name")) for task in tasks.values())
    named = {str(task.get("name")): key for key, task in tasks.items()}
    return {name: key for name, key in named.items() if counts[name] == 1 and name not in tasks}


def _names(ids: Mapping[str, str], name: str, task: Mapping[str, Any], side: str) -> set[str]:
    stated = task.get(side) or []
    if not isinstance(stated, list) or not all(isinstance(other, str | int) for other in stated):
        raise ValueError(f"task {name}: `{side}` must be a list of ids of tasks")
    return {ids.get(str(other), str(other)) for other in stated if other != ""}  # the schema allows an empty name


def _ordered(parents: Mapping[str, set[str]]) -> list[str]:
    children: dict[str, list[str]] = {name: [] for name in parents}
    left = {name: len(of) for name, of in parents.items()}
    for name, of in parents.items():
        for parent in of:
            children[parent].append(name)
    order = [name for name, count in left.items() if not count]
    for name in order:
        for child in children[name]:
            left[child] -= 1
            if not left[child]:
                order.append(child)
    if len(order) < len(parents):
        raise ValueError(f"the workflow has a cycle: {_some(_cycle(parents, set(order)), ' after ')}")
    return order


def _cycle(parents: Mapping[str, set[str]], done: set[str]) -> list[str]:
    """Returns the tasks of a cycle, each after the next. done: tasks before and beside all cycles."""
    path: dict[str, int] = {}
    name = min(set(parents) - done)
    while name not in path:
        path[name] = len(path)
        name = min(parents[name] - done)
    return [*list(path)[path[name] :], name]


def _some(names: list[str], between: str = ", ") -> str:
    most = 8
    return between.join(names[:most]) + (f"{between}... ({len(names)})" if len(names) > most else "")


def critical_path_s(tasks: list[Task]) -> float:
    ends: list[float] = []
    for task in tasks:
        ends.append(task.seconds + max((ends[parent] for parent in task.parents), default=0.0))
    return max(ends, default=0.0)


def lower_bound_s(tasks: list[Task], slots: int) -> float:
    """Returns the lower bound of any schedule on `slots` workers: the longest path, or all work
    spread evenly.
    """
    return max(critical_path_s(tasks), sum(task.seconds for task in tasks) / slots)


def greedy_s(tasks: list[Task], slots: int) -> float:
    """Returns the makespan of a first-come-first-served queue with an engine that takes no time."""
    children: list[list[int]] = [[] for _ in tasks]
    left = [len(task.parents) for task in tasks]
    for index, task in enumerate(tasks):
        for parent in task.parents:
            children[parent].append(index)
    queue = [index for index, count in enumerate(left) if not count]
    head, now = 0, 0.0
    running: list[tuple[float, int]] = []
    while running or head < len(queue):
        while head < len(queue) and len(running) < slots:
            heapq.heappush(running, (now + tasks[queue[head]].seconds, queue[head]))
            head += 1
        now, done = heapq.heappop(running)
        for child in children[done]:
            left[child] -= 1
            if not left[child]:
                queue.append(child)
    return now


def definition(name: str, tasks: list[Task]) -> dict[str, object]:
    """Returns the workflow as a definition: each task is a step that sleeps its runtime.

    Raises AgentFlowError.
    """
    nodes = [
        {
            "id": f"t{index}",
            "type": "function",
            "config": {"function_name": "bench.sleep", "inputs": {"seconds": task.seconds}},
        }
        for index, task in enumerate(tasks)
    ]
    edges = [{"from": f"t{parent}", "to": f"t{index}"} for index, task in enumerate(tasks) for parent in task.parents]
    return parse_dict({"name": name, "dag": {"nodes": nodes, "edges": edges}}).canonical()
