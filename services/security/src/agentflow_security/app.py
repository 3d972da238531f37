"""The wiring of the security service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from agentflow_common import rpc, subjects
from agentflow_common.connections import postgres
from agentflow_common.rpc import bus
from agentflow_common.runtime.service import Context
from agentflow_security.detect import warm
from agentflow_security.handlers import Handlers
from agentflow_security.settings import SecuritySettings
from agentflow_security.store import SCHEMA, Store
from agentflow_security.vault import Vault, load_master


@contextlib.asynccontextmanager
async def app(context: Context[SecuritySettings]) -> AsyncIterator[None]:
    """Serves PROTECT and RESTORE while the block runs.

    Raises RuntimeError if the vault was sealed under another master key.
    """
    settings = context.settings
    vault = Vault(load_master(settings))
    async with postgres.opened(settings, SCHEMA, __file__) as pool:
        store = Store(pool)
        await store.claim_key(vault.fingerprint)
        handlers = Handlers(store, vault, context.log, context.clock)
        routes: list[bus.Route] = [
            (rpc.PROTECT, handlers.protect),
            (rpc.RESTORE, handlers.restore),
            (rpc.ADOPT, handlers.adopt),
        ]
        context.needs_postgres(pool)
        context.needs_log(subjects.AUDIT_STREAM)
        async with context.serving(routes):
            warming = asyncio.create_task(_warm(context.started))
            try:
                yield
            finally:
                warming.cancel()
                await asyncio.wait([warming])


async def _warm(started: asyncio.Event) -> None:
    """Loads the detectors once the service has reported that it is ready."""
    await started.wait()
    await asyncio.to_thread(warm)
