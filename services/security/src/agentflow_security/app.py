"""The wiring of the security service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from agentflow_common import bus, postgres, rpc, rpc_vault
from agentflow_common.service import Context
from agentflow_security.detect import warm
from agentflow_security.handlers import Handlers
from agentflow_security.settings import SecuritySettings
from agentflow_security.store import SCHEMA, Store
from agentflow_security.vault import Vault, load_master


@contextlib.asynccontextmanager
async def app(context: Context[SecuritySettings]) -> AsyncIterator[None]:
    """Serves PROTECT and RESTORE while the block runs. RuntimeError if the master key is not the vault's."""
    settings = context.settings
    vault = Vault(load_master(settings))
    pool = await postgres.connect(settings, SCHEMA)
    try:
        await postgres.migrate(pool, SCHEMA, postgres.migrations_dir(__file__))
        store = Store(pool)
        await store.claim_key(vault.fingerprint)
        handlers = Handlers(store, vault, context.log, context.clock)
        routes: list[bus.Route] = [
            (rpc.PROTECT, handlers.protect),
            (rpc.RESTORE, handlers.restore),
            (rpc_vault.ADOPT, handlers.adopt),
        ]
        async with bus.serving(settings.nats_url, "security", routes):
            # begins once the loop is free again, that is after the service has said that it is ready
            warming = asyncio.create_task(asyncio.to_thread(warm))
            try:
                yield
            finally:
                warming.cancel()
                await asyncio.wait([warming])
    finally:
        await pool.close()
