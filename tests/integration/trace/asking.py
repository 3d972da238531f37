"""Asking the trace service in tests."""

from __future__ import annotations

import contextlib
from typing import Any

from nats.aio.client import Client

from agentflow_common import rpc
from agentflow_common.errors import DeadlineError, RetryableError
from agentflow_common.rpc import bus
from tests.support.waiting import PATIENCE_S, until


async def ask(nc: Client, verb: rpc.Verb[Any], request: Any) -> Any:
    """The answer, once the service is there and ClickHouse holds what is asked for."""

    async def answered() -> tuple[Any] | None:
        with contextlib.suppress(RetryableError, DeadlineError):
            return (await bus.call(nc, verb, request),)
        return None

    (reply,) = await until(answered, 3 * PATIENCE_S, f"no answer to {request}") or (None,)
    return reply
