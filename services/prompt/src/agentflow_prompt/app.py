"""The only wiring of the prompt service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agentflow_common.connections import postgres
from agentflow_common.runtime.service import Context
from agentflow_prompt.handlers import Handlers
from agentflow_prompt.settings import PromptSettings
from agentflow_prompt.store import Store

SCHEMA = "prompt"


@asynccontextmanager
async def app(context: Context[PromptSettings]) -> AsyncIterator[None]:
    async with postgres.opened(context.settings, SCHEMA, __file__) as pool:
        handlers = Handlers(Store(pool), context.clock)
        context.needs_postgres(pool)
        try:
            async with context.serving(handlers.routes()):
                yield
        finally:
            handlers.close()
