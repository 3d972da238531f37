"""Operators' live settings in the bucket AF_CONTROLS: paused workflows, and the limits of lanes.

`workflow.<org>.<name>` and `lane.<name>` (lanes/controls.py) are JSON objects that schedulers and workers watch. Every
change is a compare-and-set, so no operator overwrites another's change unseen.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec
import nats.errors
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError

from agentflow_common import subjects
from agentflow_common.errors import UNREADABLE, ConflictError, RetryableError
from agentflow_gateway.api.call import Call
from agentflow_gateway.dependencies import Deps

_TRIES_MAX: Final = 5
T = TypeVar("T", "WorkflowPause", "LaneSetting")


class WorkflowPause(msgspec.Struct, frozen=True):
    paused: bool = True
    reason: str = ""
    by: str = ""
    at: int = 0  # ms since the epoch
    paused_until: int = 0  # when the pause ends by itself; 0: when the workflow is resumed


class LaneSetting(msgspec.Struct, frozen=True, omit_defaults=True):
    """The settings of a lane. None: nothing is set."""

    limit: int | None = None  # attempts at a time
    rate_per_s: float | None = None  # attempts that may begin in a second
    paused: bool = False
    reason: str = ""
    by: str = ""
    at: int = 0
    paused_until: int = 0  # when the pause ends by itself; 0: when the lane is resumed


def workflow_key(org: str, name: str) -> str:
    return f"workflow.{org}.{name}"


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (APIError, nats.errors.Error) as error:
        raise RetryableError("the controls are not reachable; try again", kind="controls_unavailable") from error


async def _bucket(deps: Deps) -> Any:
    with _reachable():
        return await deps.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)


async def read(deps: Deps, key: str, kind: type[T]) -> tuple[T | None, int]:
    """Returns (the value, its revision); (None, 0) if it does not exist, (None, revision) if it can't be read.

    A pause that has ended by itself is left out.
    """
    bucket = await _bucket(deps)
    try:
        entry = await bucket.get(key)
    except KeyNotFoundError:
        return None, 0
    try:
        found = msgspec.json.decode(entry.value, type=kind)
    except UNREADABLE:
        return None, entry.revision
    if 0 < found.paused_until <= deps.clock.now_ms():
        found = msgspec.structs.replace(found, paused=False, reason="", paused_until=0)
    return found, entry.revision


async def write(deps: Deps, key: str, value: msgspec.Struct, revision: int) -> bool:
    """Writes a value, durably. False if another writer was faster. revision: of the value before, 0 for none."""
    bucket = await _bucket(deps)
    data = msgspec.json.encode(value)
    with _reachable():
        try:
            if revision:
                await bucket.update(key, data, last=revision)
            else:
                await bucket.create(key, data)
        except KeyWrongLastSequenceError:
            return False
    return True


async def workflow_pause(call: Call, name: str) -> WorkflowPause | None:
    """Returns the pause of a workflow, or None if it is not paused."""
    pause, _ = await read(call.deps, workflow_key(call.org, name), WorkflowPause)
    return pause if pause is not None and pause.paused else None


async def workflow_pauses(call: Call, names: Iterable[str]) -> dict[str, WorkflowPause]:
    """Returns the pauses of those workflows that are paused, by name. Only those that ever were are read."""
    prefix = workflow_key(call.org, "")
    there = {key.removeprefix(prefix) for key in await keys(call.deps, prefix)}
    known = [name for name in names if name in there]
    found = await asyncio.gather(*(workflow_pause(call, name) for name in known))
    return {name: pause for name, pause in zip(known, found, strict=True) if pause is not None}


async def set_workflow_pause(call: Call, name: str, pause: WorkflowPause) -> bool:
    """Returns False if it was so before, until the same time; then nothing is written."""
    key = workflow_key(call.org, name)
    for _ in range(_TRIES_MAX):
        before, revision = await read(call.deps, key, WorkflowPause)
        was = before if before is not None and before.paused else WorkflowPause(paused=False)
        if (was.paused, was.paused_until) == (pause.paused, pause.paused_until):
            return False
        if await write(call.deps, key, pause, revision):
            return True
    raise ConflictError("other callers are changing this workflow's pause; try again")


async def keys(deps: Deps, prefix: str) -> list[str]:
    """Returns the keys that begin with the prefix, sorted.

    One request: the client's own listing may miss keys when the loop is busy.
    """
    subject = f"$KV.{subjects.CONTROLS_BUCKET}."
    try:
        info = await deps.nc.jsm().stream_info(f"KV_{subjects.CONTROLS_BUCKET}", subjects_filter=f"{subject}{prefix}>")
    except NotFoundError:
        return []
    return sorted(name.removeprefix(subject) for name in info.state.subjects or {})
