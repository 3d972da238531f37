"""Maps in maps from the SDK through the gateway to the scheduler and a worker: results, `why`, a fork at a place."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agentflow_common import events as ev
from agentflow_sdk import Changes, RunStatus, StepStatus, Workflow, body
from agentflow_sdk.errors import InvalidArgumentError
from tests.support.platform import Platform, gated, open_gate, running_platform
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration


@pytest.fixture
async def platform(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[Platform]:
    async with running_platform(nats_url, db_env) as made:
        yield made


def table(function: str = "t.add") -> Workflow:
    """Rows with a number of their own, each a map of its cells."""
    cells = body.map(body.function(function, a="{{cell}}", b="{{row.b}}"), over="{{row.cells}}", item="cell")
    return Workflow("table").input("rows", "array").map("m", cells, over="{{rows}}", item="row", concurrency=2)


ROWS = [{"b": 10, "cells": [1, 2]}, {"b": 20, "cells": []}, {"b": 30, "cells": [3]}]


async def test_a_map_of_maps_gives_a_list_of_lists_and_is_forked_at_a_place(platform: Platform) -> None:
    run = await platform.flows.submit(table(), {"rows": ROWS})
    done = await platform.flows.wait(run, timeout=PATIENCE_S)
    assert (done.status, done.output) == (RunStatus.COMPLETED, {"m": [[11, 12], [], [33]]})
    assert {step.step: step.status for step in done.steps} == dict.fromkeys(
        ["m", "m[0]", "m[0][0]", "m[0][1]", "m[1]", "m[2]", "m[2][0]"], StepStatus.COMPLETED
    )
    types = {step.step: step.type for step in done.steps}
    assert (types["m"], types["m[1]"], types["m[0][1]"]) == ("map", "map", "function")
    fork = await platform.flows.fork(run, "m[0][1]", changes=Changes(step_inputs={"m": {"b": 100}}))
    assert set(fork.kept) == {"m[0][0]", "m[1]", "m[2]", "m[2][0]"}
    again = await platform.flows.wait(fork, timeout=PATIENCE_S)
    assert again.output == {"m": [[11, 102], [], [33]]}
    assert await platform.scheduled(fork.run_id) == ["m[0][1]"]


async def test_why_names_the_place_and_a_cancel_closes_every_level(platform: Platform) -> None:
    inner = "{type: function, config: {function_name: t.gate, inputs: {name: '{{gate}}'}}}"
    node = (
        "{id: m, type: map, config: {over: [[lunch], [tea, lunch]], item: gates, body: {type: map, config: "
        "{over: '{{gates}}', item: gate, concurrency: 1, body: " + inner + "}}}}"
    )
    run = await platform.submit(node, gated("beside", "tea"))
    open_gate("tea")
    await platform.reaches(
        run, lambda item: {"m[0][0]", "m[1][1]"} <= {step.step for step in item.steps if step.status == "running"}
    )
    told = {item.step: item.text for item in (await platform.flows.why(run)).waiting}
    assert told.keys() == {"m", "m[0]", "m[0][0]", "m[1]", "m[1][1]"}
    assert (told["m"], told["m[1]"]) == (
        "0 of 2 items are done, 2 are under way", "1 of 2 items are done, 1 is under way",
    )  # fmt: skip
    await platform.flows.cancel(run)
    ended = await platform.status(run, "cancelled")
    assert {step.status for step in ended.steps if step.step.startswith("m") and step.step != "m[1][0]"} == {
        "cancelled"
    }
    assert await platform.has(run, ev.RunCancelled)
    open_gate("lunch")


async def test_what_the_innermost_body_calls_is_checked_with_its_place(platform: Platform) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await platform.flows.submit(table("t.ad"), {"rows": ROWS})
    assert [problem.place for problem in caught.value.problems] == [
        "dag.nodes[0].config.body.config.body.config.function_name"
    ]
