"""What operators set live, in the bucket AF_CONTROLS: paused workflows, and the limits of lanes.

`workflow.<org>.<name>` and `lane.<name>` (lanecontrols.py), each a JSON object; schedulers and workers watch them.
Every change is a compare-and-set, so two operators never undo each other unseen.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
import nats.errors
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError

from agentflow_common import subjects
from agentflow_common.errors import UNREADABLE, ConflictError, RetryableError
from agentflow_gateway.dependencies import Deps

_TRIES_MAX: Final = 5
T = TypeVar("T", bound=msgspec.Struct)


class WorkflowPause(msgspec.Struct, frozen=True):
    """at: ms since the epoch."""

    paused: bool = True
    reason: str = ""
    by: str = ""
    at: int = 0


class LaneSetting(msgspec.Struct, frozen=True, omit_defaults=True):
    """limit: attempts at a time, rate_per_s: attempts that may begin in a second; None: nothing is set here."""

    limit: int | None = None
    rate_per_s: float | None = None
    paused: bool = False
    reason: str = ""
    by: str = ""
    at: int = 0


def workflow_key(org: str, name: str) -> str:
    return f"workflow.{org}.{name}"


async def _bucket(deps: Deps) -> Any:
    try:
        return await deps.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
    except (NotFoundError, nats.errors.Error) as error:
        raise RetryableError("the controls are not reachable; try again", kind="controls_unavailable") from error


async def read(deps: Deps, key: str, kind: type[T]) -> tuple[T | None, int]:
    """(the value, its revision); (None, 0) if there is none or it can't be read."""
    bucket = await _bucket(deps)
    try:
        entry = await bucket.get(key)
    except KeyNotFoundError:
        return None, 0
    try:
        return msgspec.json.decode(entry.value, type=kind), entry.revision
    except UNREADABLE:
        return None, entry.revision


async def write(deps: Deps, key: str, value: msgspec.Struct, revision: int) -> bool:
    """Durable on return; False if somebody else wrote in between. revision 0: there was nothing."""
    bucket = await _bucket(deps)
    data = msgspec.json.encode(value)
    try:
        if revision:
            await bucket.update(key, data, last=revision)
        else:
            await bucket.create(key, data)
    except KeyWrongLastSequenceError:
        return False
    except (APIError, nats.errors.Error) as error:
        raise RetryableError("the controls are not reachable; try again", kind="controls_unavailable") from error
    return True


async def workflow_pause(deps: Deps, org: str, name: str) -> WorkflowPause | None:
    """Why a workflow is paused, or None if it is not."""
    found, _ = await read(deps, workflow_key(org, name), WorkflowPause)
    return found if found is not None and found.paused else None


async def set_workflow_pause(deps: Deps, org: str, name: str, wanted: WorkflowPause) -> bool:
    """False if it was so before; then nothing is written."""
    key = workflow_key(org, name)
    for _ in range(_TRIES_MAX):
        found, revision = await read(deps, key, WorkflowPause)
        if (found is not None and found.paused) == wanted.paused:
            return False
        if await write(deps, key, wanted, revision):
            return True
    raise ConflictError("others change this workflow's pause just now; try again")


async def keys(deps: Deps, prefix: str) -> list[str]:
    """The keys that begin so, sorted. One request: the client's own listing may miss keys when the loop is busy."""
    subject = f"$KV.{subjects.CONTROLS_BUCKET}."
    try:
        info = await deps.nc.jsm().stream_info(f"KV_{subjects.CONTROLS_BUCKET}", subjects_filter=f"{subject}{prefix}>")
    except NotFoundError:
        return []
    return sorted(name.removeprefix(subject) for name in info.state.subjects or {})
