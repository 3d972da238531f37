"""The gateway that tests of this folder talk to; a file with other needs has a fixture of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.gateway import GatewayUnderTest, expect_no_scheduler, running_gateway


@pytest.fixture
async def gateway(
    nats_url: str, db_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[GatewayUnderTest]:
    expect_no_scheduler(monkeypatch)
    async with running_gateway(nats_url, db_env) as running:
        yield running
