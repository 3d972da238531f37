"""A run that has left the log looks the same through every door, and the log is smaller for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import EXAMPLES
from tests.support.waiting import PATIENCE_S, until_now

from .conftest import Platform, buckets_in, options

pytestmark = pytest.mark.e2e
FAST = {"RETENTION_MIN_S": "0", "RETENTION_SWEEP_S": "0.2", "RETENTION_HOURS": "0"}


@pytest.fixture
def swept(tmp_path: Path) -> Iterator[Platform]:
    """A stack whose retention may be short."""
    from tests.support.stack import running_stack

    buckets = buckets_in(tmp_path)
    chosen = options(buckets)
    chosen["env"] = {**chosen["env"], **FAST}
    with running_stack(tmp_path / "data", **chosen) as stack:
        yield Platform(stack, buckets)


def retention(platform: Platform, *arguments: str) -> dict[str, Any]:
    done = platform.cli("retention", *arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def asked(platform: Platform) -> int:
    from agentflow_sdk import AsyncClient

    async with AsyncClient(platform.stack.grpc, platform.stack.dev_key) as client:
        return (await client.admin.get_retention()).archived_runs


def archived(platform: Platform, count: int) -> dict[str, Any]:
    def enough() -> dict[str, Any] | None:
        found = retention(platform, "get")
        return found if found["archived_runs"] >= count else None

    told = until_now(enough, 3 * PATIENCE_S)
    assert told is not None
    return told


def test_a_run_that_left_the_log_looks_the_same_through_every_door(swept: Platform) -> None:
    from agentflow_sdk import NotFoundError

    flow = (EXAMPLES / "document_analysis.yaml").read_text()
    inputs = {"document_key": str(EXAMPLES / "data" / "vendor_review.md")}
    with swept.client() as client:
        first = client.workflows.submit(flow, inputs, idempotency_key="review-1", tags={"for": "archive"})
        assert client.workflows.wait(first, timeout=180).status == "completed"

        def seen() -> tuple[Any, ...]:
            run = client.workflows.get(first)
            trace = client.traces.get(first, bodies=True)
            events = [event.to_dict() for event in trace.events if event.stream == "AF_EVENTS"]
            listed = [item.run_id for item in client.workflows.list(workflow=run.workflow)]
            watched = [item.to_dict() for item in client.workflows.watch(first, tokens=False, timeout=PATIENCE_S)]
            return run.to_dict(), trace.steps, trace.cost_nano_usd, events, listed, watched

        before = seen()
        stream_before = retention(swept, "get")
        assert (stream_before["keep_ms"], stream_before["archived_runs"]) == (0, 0)
        refused = swept.cli("retention", "set", "soon")
        assert refused.returncode == 2 and "7d" in refused.stderr
        assert retention(swept, "set", "1s")["keep_ms"] == 1000
        stream_after = archived(swept, 1)
        assert stream_after["log_messages"] < stream_before["log_messages"]
        assert stream_after["log_bytes"] < stream_before["log_bytes"]
        assert seen() == before
        assert asyncio.run(asked(swept)) == client.admin.get_retention().archived_runs == 1
        swept.stack.kill("scheduler")
        swept.stack.kill("trace")
        for name in ("scheduler", "trace"):
            swept.stack.wait_ready(name)
        assert seen() == before
        unsure = swept.cli("trace", "rebuild")
        assert unsure.returncode == 2 and "--yes" in unsure.stderr
        rebuilt = swept.cli("trace", "rebuild", "--yes", "-o", "json")
        assert rebuilt.returncode == 0, rebuilt.stderr
        assert json.loads(rebuilt.stdout)["messages"] > 10
        assert seen() == before
        assert client.workflows.wait(first, timeout=PATIENCE_S).status == "completed"
        assert client.workflows.cancel(first).is_final
        shown = swept.cli("workflow", "get", first.run_id, "-o", "json")
        assert json.loads(shown.stdout) == json.loads(json.dumps(before[0]))
        revealed = client.workflows.get(first, reveal=True, reason="audit")
        (text,) = [step.output["text"] for step in revealed.steps if step.step == "ingest"]
        assert text == (EXAMPLES / "data" / "vendor_review.md").read_text(), "the originals can still be put back"
        with pytest.raises(NotFoundError):
            client.workflows.get("run_" + "0" * 26)

        # the log has forgotten the key: the same request is a new run, apart from the old one
        again = client.workflows.submit(flow, inputs, idempotency_key="review-1", tags={"for": "archive"})
        assert again.run_id != first.run_id and not again.deduplicated
        twice = client.workflows.submit(flow, inputs, idempotency_key="review-1", tags={"for": "archive"})
        assert (twice.run_id, twice.deduplicated) == (again.run_id, True)
        anew = client.workflows.wait(again, timeout=180)
        assert anew.status == "completed"
        archived(swept, 2)
        assert client.workflows.get(again).to_dict() == anew.to_dict()
        assert client.workflows.get(first).to_dict() == before[0]
