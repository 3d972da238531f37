"""The `synchronization` of Argo: run lanes, lanes of steps, and locks. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agentctl.importers.argo import values
from agentctl.importers.expression import Literal, value
from agentctl.importers.flow import Flow, name_of, translated
from agentctl.importers.source import Part
from agentflow_common.definition.nodes.lock import LOCKS_MAX

_KINDS: Final = (("mutex", "mutexes"), ("semaphore", "semaphores"))


def of_runs(parts: list[Part], flow: Flow, resolve: values.Resolve) -> None:
    """Gives a workflow the slot and the locks that its runs hold from their first step to their end."""
    held = [lock for part in parts for lock in _found(part)]
    held.sort(key=lambda lock: lock[0] == "mutex")  # a run lane counts slots, a lock has one
    for number, (kind, part) in enumerate(held):
        if number == 0:
            flow.more["run_lane"] = {"key": _key(part, resolve), "limit": 1}
            if kind == "semaphore":
                part.remark("the semaphore's size stands in the cluster", "set `limit` of `run_lane`")
        else:
            _lock(kind, part, flow, "", resolve)


def of_step(part: Part, flow: Flow, step: str, resolve: values.Resolve, *, at_end: bool) -> None:
    """Gives a step the lane, and the workflow the locks, of a template that does one thing."""
    node = flow.steps[step].node or {}
    held = sorted(_found(part), key=lambda lock: lock[0] == "mutex")
    for number, (kind, lock) in enumerate(held):
        if number == 0:
            key = _key(lock, resolve)
            node["lane"] = key if "{{org}}" in key else f"{key}-{{{{org}}}}"
            if kind == "semaphore":
                lock.remark("the semaphore's size stands in the cluster", "set `lane_limit`")
        elif at_end or node["type"] == "map":
            lock.remark("only one lock of such a step is carried over", "put it into a subworkflow with a `lock`")
        else:
            _lock(kind, lock, flow, step, resolve)


def check(flows: list[Flow], part: Part) -> None:
    """Adds a remark for each lock that is taken in two ways which don't keep each other out."""
    nodes = [step.node for flow in flows for step in flow.steps.values() if step.node is not None]
    by_runs = {flow.more["run_lane"]["key"] for flow in flows if "run_lane" in flow.more}
    by_steps = {node["lane"].removesuffix("-{{org}}") for node in nodes if "lane" in node}
    for key in sorted(by_runs & by_steps):
        part.remark(f"{key!r} is a run lane and a lane of steps here, which don't keep each other out",
                    "put these steps into subworkflows with this `run_lane`")  # fmt: skip


def _found(part: Part) -> Iterator[tuple[str, Part]]:
    """Yields the kind and the value of each lock."""
    for one, many in _KINDS:
        for lock in [*([part[one]] if part[one] else []), *part[many].items()]:
            if lock["namespace"]:
                lock["namespace"].remark("a lock is one of the org here, without a namespace", "put it into the key")
            yield one, lock


def _key(lock: Part, resolve: values.Resolve) -> str:
    names = (lock["name"], lock["configMapKeyRef"]["key"], lock["database"]["key"])
    name = next((part for part in names if part), None)
    if name is None:
        return "lock"
    if "{{" not in name.text():
        return name_of(name.text())
    return str(value(translated(name, lambda: values.text(name.text(), resolve), Literal(name_of(name.text())))))


def _lock(kind: str, part: Part, flow: Flow, step: str, resolve: values.Resolve) -> None:
    """Adds a lock beside the slot that is there already."""
    if kind == "semaphore":
        part.remark("a second semaphore is not carried over", "let a subworkflow around the steps have its `run_lane`")
        return
    key = _key(part, resolve)
    if key not in flow.locks and len(flow.locks) == LOCKS_MAX:
        part.remark("the mutex is not carried over", "let a subworkflow around the steps have it as its `run_lane`")
        return
    known = flow.locks.setdefault(key, [step] if step else [])
    if step and known and step not in known:
        known.append(step)
    part.remark(f"this mutex is the lock {key!r}, which keeps no other out that has it as a `run_lane`",
                "name it in `lock` everywhere")  # fmt: skip
