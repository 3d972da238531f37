"""A run's messages wherever they are: in the log, or in the archive once the run was purged from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from agentflow_common import events as ev
from agentflow_common import rpc, subjects
from agentflow_common.errors import RetryableError
from agentflow_common.log.event_log import Stored
from agentflow_gateway.api import call_context
from agentflow_gateway.dependencies import Deps

READ_CHUNK: Final = 500


async def messages(deps: Deps, key: subjects.EntityKey) -> AsyncIterator[Stored]:
    """In sequence order, read in chunks so that a long run does not stand in memory twice; nothing for an unknown run.

    RetryableError if only the archive can tell and it is away.
    """
    chunk = await deps.log.read(subjects.run_all(key), 0, READ_CHUNK)
    if not chunk or not isinstance(ev.try_decode(chunk[0].data), ev.RunSubmitted):
        async for stored in archived(deps, key):  # what the log may hold are late words about a run that was purged
            yield stored
        return
    while chunk:
        for stored in chunk:
            yield stored
        if len(chunk) < READ_CHUNK:
            return
        chunk = await deps.log.read(subjects.run_all(key), chunk[-1].seq, READ_CHUNK)


async def archived(deps: Deps, key: subjects.EntityKey) -> AsyncIterator[Stored]:
    """The run's messages as the archive holds them."""
    after, more = 0, True
    while more:
        request = rpc.ArchiveRequest(org=key.org, run=key.name, after_seq=after)
        try:
            page = await call_context.current().ask(deps.nc, rpc.ARCHIVED, request)
        except RetryableError as error:
            if await unheard_of(deps, key, error):
                return
            raise
        for event in page.events:
            yield Stored(event.subject, event.body.encode(), event.seq)
            after = event.seq
        more = page.more


async def unheard_of(deps: Deps, key: subjects.EntityKey, error: RetryableError) -> bool:
    """Whether a run that the log does not hold can be denied although the archive is away: it was never listed."""
    return error.kind == "service_unavailable" and not await deps.store.has_run(key.org, key.name)


async def status(deps: Deps, key: subjects.EntityKey) -> str | None:
    """How a run ended that only the archive holds; None for an unknown run."""
    found: str | None = None
    async for stored in archived(deps, key):
        event = ev.try_decode(stored.data)
        if isinstance(event, ev.TERMINAL_RUN) and subjects.is_decision(stored.subject):
            found = ev.event_type(event).removeprefix("run.")
    return found
