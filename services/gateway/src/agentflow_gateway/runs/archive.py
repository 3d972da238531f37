"""A run's messages wherever they are: in the log, or in the archive once the run was purged from it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from agentflow_common import events as ev
from agentflow_common import rpc, subjects
from agentflow_common.errors import RetryableError
from agentflow_common.log.event_log import Stored
from agentflow_gateway.api.call import Call


async def messages(call: Call, key: subjects.EntityKey) -> AsyncIterator[Stored]:
    """Yields a run's messages in sequence order; none for an unknown run.

    RetryableError if only the archive can answer and it is away.
    """
    in_log = False
    async for stored in call.deps.log.messages(subjects.run_all(key)):
        if not in_log and not isinstance(ev.try_decode(stored.data), ev.RunSubmitted):
            break  # late reports about a run that was purged
        in_log = True
        yield stored
    if not in_log:
        async for stored in archived(call, key):
            yield stored


async def archived(call: Call, key: subjects.EntityKey) -> AsyncIterator[Stored]:
    """Yields the run's messages from the archive."""
    after, more = 0, True
    while more:
        request = rpc.ArchiveRequest(org=key.org, run=key.name, after_seq=after)
        try:
            page = await call.ask(rpc.ARCHIVED, request)
        except RetryableError as error:
            if await is_unlisted(call, key, error):
                return
            raise
        for event in page.events:
            yield Stored(event.subject, event.body.encode(), event.seq)
            after = event.seq
        more = page.more


async def is_unlisted(call: Call, key: subjects.EntityKey, error: RetryableError) -> bool:
    """True if a run that is not in the log does not exist although the archive is away: it was never listed."""
    return error.kind == "service_unavailable" and not await call.store.runs.has(key.org, key.name)


async def status(call: Call, key: subjects.EntityKey) -> str | None:
    """Returns how a run ended that only the archive has; None for an unknown run."""
    status: str | None = None
    async for stored in archived(call, key):
        event = ev.try_decode(stored.data)
        if isinstance(event, ev.TERMINAL_RUN) and subjects.is_decision(stored.subject):
            status = ev.event_type(event).removeprefix("run.")
    return status
