"""Deleting a version of a workflow: what still uses it is named, and its number stays taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import asyncpg

from agentflow_common.errors import ConflictError, InvalidError, Problem, TerminalError
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.definitions import labels, lookup
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.store.runs import ACTIVE, RunFilter
from agentflow_gateway.store.versions import Users

NAMED_MAX: Final = 5  # of each kind, in the error


async def delete(deps: Deps, call: Call, name: str, version: int) -> list[int]:
    """Deletes a version and returns those that are left.

    Raises NotFoundError for a version that is not there, TerminalError with the names of what uses it.
    """
    ref = labels.parse_ref(name)
    if ref.version is not None or ref.label or version < 1:
        fix = "give the name and the number of one version: agentctl workflow delete NAME@VERSION"
        problem = Problem("workflow", f"{name[:80]!r}, version {version}", fix)
        raise InvalidError("a version is deleted by its name and number", problems=(problem,))
    row = await deps.versions.find_definition(call.org, ref.name, version)
    if row is None:
        raise await lookup.no_such_version(deps, call.org, ref.name, version)
    latest = (await deps.store.definition_versions(call.org, ref.name))[0]
    users = await deps.versions.users(call.org, ref.name, version, is_latest=version == latest)
    wanted = RunFilter(statuses=ACTIVE, workflow=ref.name, version=version)
    running = [run.run for run in await deps.store.list_runs(call.org, wanted, None, NAMED_MAX + 1)]
    if problems := _problems(users, running):
        raise TerminalError(
            f"{ref.name}@{version} is in use: {problems[0].message}", kind="definition_in_use", problems=problems
        )
    try:
        gone = await deps.versions.delete_definition(call.org, row, deps.clock.now_ms(), call.identity.actor)
    except asyncpg.ForeignKeyViolationError:
        gone = False  # a label was pointed at it just now
    if not gone:
        raise ConflictError(f"{ref.name}@{version} was changed by somebody else just now; look at it and try again")
    return await deps.store.definition_versions(call.org, ref.name)


def _problems(users: Users, running: list[str]) -> tuple[Problem, ...]:
    told = (
        ("labels", "label", users.labels, "point them at another version, or remove them: agentctl workflow label"),
        ("schedules", "schedule", users.schedules, "update or delete them: agentctl schedule update"),
        ("workflows", "workflow", users.workflows, "register versions of them that call another version"),
        ("runs", "unfinished run", running, "wait for them, or cancel them: agentctl workflow cancel"),
    )
    return tuple(Problem(place, f"{what} {_some(names)}", fix) for place, what, names, fix in told if names)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:NAMED_MAX]) + (", ..." if len(listed) > NAMED_MAX else "")
