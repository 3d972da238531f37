"""A version of a workflow is deleted only when nothing uses it, and its number stays taken."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agentflow_sdk import (
    AlreadyExistsError,
    FailedPreconditionError,
    NotFoundError,
    PermissionDeniedError,
)
from tests.support.gateway import GatewayUnderTest, running_gateway
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
async def gateway(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[GatewayUnderTest]:
    async with running_gateway(nats_url, db_env) as gateway:
        yield gateway


async def test_usage_17_a_version_is_deleted_only_when_nothing_uses_it(gateway: GatewayUnderTest) -> None:
    def text(name: str, version: int, call: str = "", more: str = "") -> str:
        work = f"type: subworkflow, config: {{workflow: {call}}}" if call else "type: wait, config: {duration: 1h}"
        return f"name: {name}\nversion: {version}\ndescription: d{more}\ndag: {{nodes: [{{id: a, {work}}}]}}\n"

    async with gateway.client() as client:
        flows = client.workflows
        for version in (1, 2, 3):
            await flows.register(text("old", version))
        await flows.register(text("caller", 1, "old@2"))
        await flows.label("old", "prod", 1)
        run = await flows.submit("old@3")
        with pytest.raises(FailedPreconditionError, match="label prod"):
            await flows.delete("old", 1)
        with pytest.raises(FailedPreconditionError, match="workflow caller@1"):
            await flows.delete("old", 2)
        await until(lambda: gateway.store.runs.has("default", run.run_id))  # the list of runs is a moment behind
        with pytest.raises(FailedPreconditionError, match=run.run_id):
            await flows.delete("old", 3)
        with pytest.raises(NotFoundError):
            await flows.delete("old", 4)
        await flows.remove_label("old", "prod")
        assert await flows.delete("old", 1) == (3, 2)
        assert [item.version for item in (await flows.versions("old")).versions] == [3, 2]
        with pytest.raises(NotFoundError):
            await flows.submit("old@1")
        with pytest.raises(AlreadyExistsError, match=r"was deleted.* to 4"):
            await flows.register(text("old", 1, more="ifferent"))
        assert (await flows.register(text("old", 1))).created
        assert await flows.delete("old", 1) == (3, 2)
        await flows.delete("caller", 1)
        assert await flows.delete("old", 2) == (3,)
        writer = await gateway.key_for("default", "read", "write")
        async with gateway.client(writer) as weak:
            with pytest.raises(PermissionDeniedError, match="admin"):
                await weak.workflows.delete("old", 3)


async def test_usage_17_a_version_that_a_schedule_starts_is_not_deleted(gateway: GatewayUnderTest) -> None:
    text = "name: nightly\ndag: {nodes: [{id: a, type: wait, config: {duration: 1h}}]}\n"
    async with gateway.client() as client:
        await client.workflows.register(text)
        await client.schedules.create({"name": "each_night", "workflow": "nightly", "cron": "0 3 * * *"})

        async def listed() -> bool:  # the list of schedules is a moment behind
            return [row.name for row in await client.schedules.list()] == ["each_night"]

        await until(listed)
        with pytest.raises(FailedPreconditionError, match="schedule each_night"):
            await client.workflows.delete("nightly", 1)
