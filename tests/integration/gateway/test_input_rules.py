"""Inputs that do not fit their rules are refused when a run is submitted, and before anything is written."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agentflow_sdk import InvalidArgumentError
from tests.support.gateway import EMAIL, GatewayUnderTest, running_gateway

pytestmark = pytest.mark.integration

TEXT = """\
name: invite
inputs:
  email: {type: string, format: email, maxLength: 40}
  seats: {type: integer, minimum: 1, maximum: 8, default: 2}
  day: {type: string, pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", required: false}
dag:
  nodes: [{id: a, type: wait, config: {duration: 1h}}]
"""


@pytest.fixture
async def gateway(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[GatewayUnderTest]:
    async with running_gateway(nats_url, db_env) as gateway:
        yield gateway


async def test_a_submission_is_refused_with_each_place_and_stored_if_it_fits(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        await client.workflows.register(TEXT)
        with pytest.raises(InvalidArgumentError) as caught:
            await client.workflows.submit("invite", {"email": "ann", "seats": 9, "day": "today"})
        assert {(p.place, p.message) for p in caught.value.problems} == {
            ("inputs.email", "must have the format email"),
            ("inputs.seats", "must be at most 8"),
            ("inputs.day", 'must match the pattern "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"'),
        }
        assert len(await client.workflows.list()) == 0
        run = await client.workflows.submit("invite", {"email": EMAIL, "day": "2026-01-31"})
        shown = await client.workflows.get(run.run_id)
        assert shown.inputs == {"email": "<EMAIL_ADDRESS:ABCDEF>", "seats": 2, "day": "2026-01-31"}


async def test_templates_of_a_schedule_are_judged_when_they_are_filled_in(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        await client.workflows.register(TEXT)
        spec = {"name": "daily", "cron": "0 9 * * *", "workflow": "invite"}
        inputs = {"email": EMAIL, "day": "{{ schedule.date }}"}
        made = await client.schedules.create({**spec, "inputs": inputs})
        assert made.schedule.name == "daily"
        with pytest.raises(InvalidArgumentError, match="must be at most 8"):
            await client.schedules.create({**spec, "name": "b", "inputs": {**inputs, "seats": 9}})
        with pytest.raises(InvalidArgumentError, match="not an input of this workflow"):
            await client.schedules.create({**spec, "name": "b", "inputs": {**inputs, "days": "{{ schedule.date }}"}})
