"""Workflows in WfFormat (wfcommons.org, schema 1.5): their tasks, lower bounds of their makespan. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any, NamedTuple

from agentflow_common.definition import parse_dict


class Task(NamedTuple):
    """parents: indices of the tasks that come first. seconds: the runtime as the workflow states it."""

    id: str
    parents: tuple[int, ...]
    seconds: float


def parse(data: Mapping[str, Any]) -> list[Task]:
    """The tasks in an order in which parents come first. Raises ValueError for what is not WfFormat, or has a cycle."""
    try:
        workflow = data["workflow"]
        specified = {str(task["id"]): task for task in workflow["specification"]["tasks"]}
        seconds = {str(task["id"]): float(task["runtimeInSeconds"]) for task in workflow["execution"]["tasks"]}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"not WfFormat 1.5 (workflow.specification.tasks, workflow.execution.tasks): {error}"
        ) from None
    parents: dict[str, set[str]] = {name: set(map(str, task.get("parents", ()))) for name, task in specified.items()}
    for name, task in specified.items():
        for child in task.get("children", ()):  # some writers state an edge on one side alone
            parents.setdefault(str(child), set()).add(name)
    unknown = sorted({name for of in parents.values() for name in of}.union(parents) - set(specified))
    if unknown:
        raise ValueError(f"parents or children that are no tasks: {', '.join(unknown[:5])}")
    if missing := sorted(set(specified) - set(seconds)):
        raise ValueError(f"no workflow.execution for the tasks {', '.join(missing[:5])}")
    return [
        Task(name, tuple(sorted(position[parent] for parent in parents[name])), seconds[name])
        for position in [{name: index for index, name in enumerate(_ordered(parents))}]
        for name in position
    ]


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
        raise ValueError("the workflow has a cycle")
    return order


def critical_path_s(tasks: list[Task]) -> float:
    ends: list[float] = []
    for task in tasks:
        ends.append(task.seconds + max((ends[parent] for parent in task.parents), default=0.0))
    return max(ends, default=0.0)


def lower_bound_s(tasks: list[Task], slots: int) -> float:
    """No schedule on `slots` workers is shorter: the longest path, or all the work spread evenly."""
    return max(critical_path_s(tasks), sum(task.seconds for task in tasks) / slots)


def greedy_s(tasks: list[Task], slots: int) -> float:
    """The makespan of a first-come-first-served queue whose engine takes no time at all: what this order can reach."""
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


def definition(name: str, tasks: list[Task], scale: float) -> dict[str, object]:
    """The workflow as AgentFlow runs it: each task a step that sleeps its scaled runtime."""
    nodes = [
        {
            "id": f"t{index}",
            "type": "function",
            "config": {"function_name": "bench.sleep", "inputs": {"seconds": round(task.seconds * scale, 6)}},
        }
        for index, task in enumerate(tasks)
    ]
    edges = [{"from": f"t{parent}", "to": f"t{index}"} for index, task in enumerate(tasks) for parent in task.parents]
    return parse_dict({"name": name, "dag": {"nodes": nodes, "edges": edges}}).canonical()
