"""Deletes a version of a workflow. The error names what still uses it, and the number stays taken."""

from __future__ import annotations

from typing import Final

import asyncpg

from agentflow_common.errors import ConflictError, InvalidError, Problem, TerminalError
from agentflow_gateway.api.call import Call
from agentflow_gateway.definitions import labels, lookup
from agentflow_gateway.store.definitions import Users
from agentflow_gateway.store.runs import ACTIVE, RunFilter

NAMED_MAX: Final = 5  # of each kind, in the error


async def delete(call: Call, name: str, version: int) -> list[int]:
    """Deletes a version and returns those that are left.

    Raises NotFoundError for an unknown version, TerminalError with the names of what uses it.
    """
    ref = labels.parse_ref(name)
    if ref.version is not None or ref.label or version < 1:
        fix = "give the name and the number of one version: agentctl workflow delete NAME@VERSION"
        raise InvalidError.at("workflow", f"{name[:80]!r} and {version} do not name one version", fix)
    store, named = call.store, f"{ref.name}@{version}"
    row = await store.definitions.find(call.org, ref.name, version)
    if row is None:
        raise await lookup.no_such_version(call, ref.name, version)
    latest = (await store.definitions.versions(call.org, ref.name, limit=1))[0].version
    users = await store.definitions.users(call.org, ref.name, version, is_latest=version == latest)
    active = RunFilter(statuses=ACTIVE, workflow=ref.name, version=version)
    running = [run.run for run in await store.runs.find(call.org, active, None, NAMED_MAX + 1)]
    if problems := _problems(users, running):
        raise TerminalError(f"{named} is in use: {problems[0].message}", kind="definition_in_use", problems=problems)
    try:
        gone = await store.definitions.delete(call.org, row, call.now_ms(), call.identity.actor)
    except asyncpg.ForeignKeyViolationError:
        gone = False  # a label was pointed at it just now
    if not gone:
        raise ConflictError(f"{named} was just changed by another caller; look at it and try again")
    return [left.version for left in await store.definitions.versions(call.org, ref.name)]


def _problems(users: Users, running: list[str]) -> tuple[Problem, ...]:
    kinds = (
        ("labels", "label", users.labels, "point them at another version, or remove them: agentctl workflow label"),
        ("schedules", "schedule", users.schedules, "update or delete them: agentctl schedule update"),
        ("workflows", "workflow", users.workflows, "register versions of them that call another version"),
        ("runs", "unfinished run", running, "wait for them, or cancel them: agentctl workflow cancel"),
    )
    return tuple(Problem(place, f"{what} {_some(names)}", fix) for place, what, names, fix in kinds if names)


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED_MAX]) + (", ..." if len(names) > NAMED_MAX else "")
