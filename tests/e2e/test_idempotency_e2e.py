"""One idempotency key is one run, however often and however concurrently it is sent."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.paths import EXAMPLES

from .conftest import Platform
from .searching import every_message

pytestmark = pytest.mark.e2e


def test_fifty_concurrent_submissions_are_one_run(platform: Platform) -> None:
    from agentflow_sdk import AsyncClient

    flow = (EXAMPLES / "conditional.yaml").read_text()
    inputs = {"content": "A text about boats, and about what they carry across the sea in winter."}

    async def submit_all() -> list[tuple[str, bool]]:
        async with AsyncClient(platform.stack.grpc, platform.stack.dev_key) as client:
            answers = await asyncio.gather(
                *(client.workflows.submit(flow, inputs, idempotency_key="order-7") for _ in range(50))
            )
            await client.workflows.wait(answers[0], timeout=180)
        return [(answer.run_id, answer.deduplicated) for answer in answers]

    answers = asyncio.run(submit_all())
    (run_id,) = {run for run, _ in answers}
    assert [deduplicated for _, deduplicated in answers].count(False) == 1
    messages = asyncio.run(every_message(platform.stack.nats_url))
    ours = [data for stream, _, subject, data in messages if stream == "AF_EVENTS" and f".{run_id}." in subject]
    types = [json.JSONDecoder().raw_decode(data.decode())[0]["type"] for data in ours]
    assert types.count("run.submitted") == 1
    assert types.count("run.completed") == 1


def test_the_same_key_with_another_content_is_refused(platform: Platform) -> None:
    from agentflow_sdk import AgentFlowError

    flow = (EXAMPLES / "conditional.yaml").read_text()
    with platform.client() as client:
        first = client.workflows.submit(flow, {"content": "The first text."}, idempotency_key="order-8")
        again = client.workflows.submit(flow, {"content": "The first text."}, idempotency_key="order-8")
        assert (again.run_id, again.deduplicated) == (first.run_id, True)
        with pytest.raises(AgentFlowError) as caught:
            client.workflows.submit(flow, {"content": "Another text."}, idempotency_key="order-8")
    assert caught.value.code == "already_exists"
