# ruff: noqa: N802  (gRPC names the method)
"""Both clients watch steps that were reported together, through connections that are cut between any two of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from agentflow.v1 import workflow_pb2 as pb
from agentflow.v1 import workflow_pb2_grpc
from agentflow_sdk import AsyncClient, Client, RunEvent

PLACES = [(5, 0), (8, 0), (8, 1), (8, 2), (9, 0), (9, 1), (12, 0)]


class Cutting(workflow_pb2_grpc.WorkflowServiceServicer):
    """Cuts the connection after each event. `repeats` sends the one that the client has seen last again."""

    def __init__(self, repeats: bool) -> None:
        self.repeats = repeats
        self.asked: list[tuple[int, int]] = []

    def WatchRun(self, request: Any, context: Any) -> Iterator[Any]:
        assert request.parts
        seen = (request.after_sequence, request.after_part)
        self.asked.append(seen)
        left = [place for place in PLACES if place > seen or (self.repeats and place == seen)]
        for sequence, part in left[: 1 + (self.repeats and seen in PLACES)]:
            status = pb.RUN_STATUS_COMPLETED if (sequence, part) == PLACES[-1] else pb.RUN_STATUS_RUNNING
            event = pb.RunEvent(sequence=sequence, part=part, type="step.completed", status=status, body_json=b"{}")
            yield pb.WatchRunResponse(events=[event])
        if left and left[-1] != (sequence, part):
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was cut")


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("blocking", [False, True])
def test_a_watch_goes_on_in_the_middle_of_a_sequence(blocking: bool, repeats: bool) -> None:
    service = Cutting(repeats)
    server = grpc.server(ThreadPoolExecutor(4))
    workflow_pb2_grpc.add_WorkflowServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    async def watched(**after: Any) -> list[Any]:
        async with AsyncClient(endpoint, "key") as client:
            return [item async for item in client.workflows.watch("run_1", timeout=60, **after)]

    def found(**after: Any) -> list[tuple[int, int]]:
        if blocking:
            with Client(endpoint, "key") as client:
                items: list[Any] = list(client.workflows.watch("run_1", timeout=60, **after))
        else:
            items = asyncio.run(watched(**after))
        return [(item.sequence, item.part) for item in items if isinstance(item, RunEvent)]

    try:
        assert found() == PLACES
        assert service.asked == [(0, 0), *PLACES[:-1]]
        assert found(after_sequence=8, after_part=1) == PLACES[3:]
        assert found(after_sequence=8) == PLACES[2:], "what may not have been seen comes"
    finally:
        server.stop(None).wait()
