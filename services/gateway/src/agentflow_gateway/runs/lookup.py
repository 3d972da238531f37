"""Finds a run of the caller's org: its key, its first event, its status."""

from __future__ import annotations

from typing import Final

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.errors import NotFoundError
from agentflow_common.runs.state import RunStatus
from agentflow_common.runs.transitions import STATUS_AFTER
from agentflow_gateway.api.call import Call
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import archive

LAG_S: Final = 0.02  # until a replica that lags is asked again
ENDED: Final = frozenset(status.value for status in RunStatus if status.terminal)


def run_key(call: Call, run_id: str) -> subjects.EntityKey:
    """Returns the key of a run of the caller's org. The org is part of every subject, so no other org's is reached."""
    return subjects.key_of(call.org, ids.check_token(run_id, "run_id"))


def no_such_run(run_id: str) -> NotFoundError:
    return NotFoundError(f"there is no run {run_id!r} in your org; see `agentctl workflow list`", kind="unknown_run")


async def first_event(deps: Deps, key: subjects.EntityKey) -> ev.RunSubmitted | None:
    """Returns the `run.submitted` of a run, or None if the log has no such run in this org."""
    stored = await deps.log.read(subjects.run_in(key), limit=1)
    event = ev.decode(stored[0].data) if stored else None
    return event if isinstance(event, ev.RunSubmitted) else None


async def newest_at_leader(call: Call, key: subjects.EntityKey) -> int:
    """Returns the newest sequence of a run as the log's leader has it, where a replica that lags may answer reads.

    Returns 0 if there are no replicas.
    """
    return await call.deps.log.newest(subjects.run_all(key)) if call.deps.settings.replicas > 1 else 0


async def status_of(call: Call, run_id: str) -> str | None:
    """Returns the run's status without folding it, or None if there is no such run."""
    key = run_key(call, run_id)
    last = await call.deps.log.last(subjects.out_run(key))
    if last is not None:
        return STATUS_AFTER.get(type(ev.decode(last.data)), RunStatus.RUNNING).value
    return "pending" if await first_event(call.deps, key) is not None else await archive.status(call, key)
