"""Breakpoints over the gateway's door, with a real scheduler and worker: where a run stops, and what is refused."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from agentflow.v1 import control_pb2 as pb
from agentflow.v1 import control_pb2_grpc, workflow_pb2
from agentflow_common import events as ev
from agentflow_common import subjects
from tests.support.engine import scheduling, working
from tests.support.gateway import GatewayUnderTest, details, running_gateway, stub
from tests.support.waiting import until

pytestmark = pytest.mark.integration
CODE = grpc.StatusCode
TEXT = """\
name: sums
dag:
  nodes:
    - {id: one, type: function, config: {function_name: t.add, inputs: {a: 1, b: 1}}}
    - {id: two, type: function, config: {function_name: t.add, inputs: {a: one.output, b: 1}}}
    - {id: three, type: function, config: {function_name: t.add, inputs: {a: two.output, b: 1}}}
    - {id: last, type: function, finally: true, config: {function_name: t.add, inputs: {a: 1, b: 1}}}
"""
GRAPH = """\
name: counted
graph: {entry_point: one, state: {initial: {n: 0}, schema: {properties: {n: {type: number}}}}}
dag:
  nodes:
    - {id: one, type: function, writes: n, config: {function_name: t.add, inputs: {a: state.n, b: 1}}}
    - {id: two, type: function, writes: n, config: {function_name: t.add, inputs: {a: state.n, b: 1}}}
  edges: [{from: one, to: two}]
"""


@pytest.fixture
async def served(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[GatewayUnderTest]:
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(scheduling(nats_url))
        await stack.enter_async_context(working(nats_url))
        yield await stack.enter_async_context(running_gateway(nats_url, db_env))


def controls(gateway: GatewayUnderTest) -> Any:
    return stub(control_pb2_grpc.RunControlServiceStub, gateway.channel)


async def submitted(gateway: GatewayUnderTest, text: str = TEXT, **fields: Any) -> str:
    request = workflow_pb2.SubmitWorkflowRequest(definition_text=text, **fields)
    return str((await gateway.workflows.SubmitWorkflow(request, metadata=gateway.auth())).run_id)


async def shown(gateway: GatewayUnderTest, run: str) -> Any:
    return (await gateway.workflows.GetRun(workflow_pb2.GetRunRequest(run_id=run), metadata=gateway.auth())).run


async def stopped(gateway: GatewayUnderTest, run: str, *steps: str) -> None:
    async def is_there() -> bool:
        return list((await shown(gateway, run)).stopped_before) == list(steps)

    await until(is_there)


async def ended(gateway: GatewayUnderTest, run: str) -> Any:
    async def is_over() -> bool:
        return bool((await shown(gateway, run)).status == workflow_pb2.RUN_STATUS_COMPLETED)

    await until(is_over)
    return await shown(gateway, run)


async def refusal(call: Any) -> tuple[Any, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), details(caught.value)[0], str(caught.value.details())


async def test_a_run_stops_shows_where_and_goes_on(served: GatewayUnderTest) -> None:
    door, auth = controls(served), served.auth()
    run = await submitted(served, break_at=["two", "three", "two"])
    await stopped(served, run, "two")
    found = await shown(served, run)
    assert (found.status, list(found.break_at), found.step_by_step) == (
        workflow_pb2.RUN_STATUS_PAUSED, ["two", "three"], False,
    )  # fmt: skip
    assert {step.step: step.status for step in found.steps}["two"] == workflow_pb2.STEP_STATUS_PENDING
    why = await door.ExplainRun(pb.ExplainRunRequest(run_id=run), metadata=auth)
    assert why.summary == f"the run is stopped before two by a breakpoint (agentctl workflow continue {run})"
    assert next((item.step, item.kind) for item in why.waiting) == ("two", "breakpoint")
    code, kind, text = await refusal(door.ResumeRun(pb.ResumeRunRequest(run_id=run), metadata=auth))
    assert (code, kind) == (CODE.FAILED_PRECONDITION, "not_paused")
    assert text.endswith(f"(agentctl workflow continue {run})")
    gone = await door.ContinueRun(pb.ContinueRunRequest(run_id=run, reason="looked"), metadata=auth)
    assert (list(gone.steps), gone.pending) == (["two"], False)
    await stopped(served, run, "three")
    assert list((await door.ContinueRun(pb.ContinueRunRequest(run_id=run), metadata=auth)).steps) == ["three"]
    assert (await ended(served, run)).output.struct_value["three"] == 4
    stored = await served.context.log.read(subjects.run_in(subjects.key_of("default", run)))
    said = [event for item in stored if isinstance(event := ev.decode(item.data), ev.RunContinueRequested)]
    assert [(event.stop, event.reason, event.by.startswith("env:")) for event in said] == [
        (1, "looked", True), (2, "", True),
    ]  # fmt: skip


async def test_step_by_step_and_up_to_a_step(served: GatewayUnderTest) -> None:
    door, auth = controls(served), served.auth()
    run = await submitted(served, step_by_step=True)
    await stopped(served, run, "one")
    await door.ContinueRun(pb.ContinueRunRequest(run_id=run, step_by_step=True), metadata=auth)
    await stopped(served, run, "two")
    changed = await door.BreakRun(pb.BreakRunRequest(run_id=run, remove=True), metadata=auth)
    assert (list(changed.break_at), changed.step_by_step, changed.pending) == ([], False, False)
    await door.ContinueRun(pb.ContinueRunRequest(run_id=run, to="three"), metadata=auth)
    await stopped(served, run, "three")
    await door.ContinueRun(pb.ContinueRunRequest(run_id=run), metadata=auth)
    await ended(served, run)


async def test_a_breakpoint_is_set_on_a_run_that_goes_on(served: GatewayUnderTest) -> None:
    door, auth = controls(served), served.auth()
    run = await submitted(served, break_at=["one"])
    await stopped(served, run, "one")
    changed = await door.BreakRun(pb.BreakRunRequest(run_id=run, at=["three"]), metadata=auth)
    assert list(changed.break_at) == ["one", "three"]
    await door.ContinueRun(pb.ContinueRunRequest(run_id=run), metadata=auth)
    await stopped(served, run, "three")
    changed = await door.BreakRun(pb.BreakRunRequest(run_id=run, at=["one"], remove=True), metadata=auth)
    assert list(changed.break_at) == ["three"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["tow"], "there is no step 'tow' (did you mean 'two'?)"),
        (["two", "nothing"], "there is no step 'nothing' (its steps are one, two, three, last)"),
        (["two#2"], "'two#2' is a part or a visit of a step (give 'two': the run"),
        (["child/two"], "'child/two' is a step of another workflow (set it on the run of the subworkflow"),
        (["last"], "'last' runs at the end of the run, where nothing stops"),
    ],
)
async def test_a_step_that_no_breakpoint_can_have_is_refused_at_submission(
    gateway: GatewayUnderTest, names: list[str], said: str
) -> None:
    code, kind, text = await refusal(submitted(gateway, break_at=names))
    assert (code, kind, said in text) == (CODE.INVALID_ARGUMENT, "unknown_step", True), text


async def test_what_does_not_fit_is_refused(gateway: GatewayUnderTest) -> None:
    door, auth = controls(gateway), gateway.auth()
    run = await submitted(gateway)
    requests: list[tuple[Any, Any, str]] = [
        (door.ContinueRun, pb.ContinueRunRequest(run_id=run), "is not stopped before a breakpoint: it has none"),
        (door.ContinueRun, pb.ContinueRunRequest(run_id=run, to="nowhere"), "there is no step 'nowhere'"),
        (door.ContinueRun, pb.ContinueRunRequest(run_id=run, to="two", step_by_step=True), "exclude each other"),
        (door.BreakRun, pb.BreakRunRequest(run_id=run), "no breakpoint is given"),
        (door.BreakRun, pb.BreakRunRequest(run_id=run, at=["tow"]), "did you mean 'two'?"),
        (door.BreakRun, pb.BreakRunRequest(run_id=run, at=["two"], remove=True), "has no breakpoint at two"),
        (door.BreakRun, pb.BreakRunRequest(run_id=run, step_by_step=True, remove=True), "does not go step by step"),
    ]  # fmt: skip
    for method, request, said in requests:
        _, _, text = await refusal(method(request, metadata=auth))
        assert said in text
    reader = gateway.auth(await gateway.key_for("default", "read"))
    stranger = gateway.auth(await gateway.key_for("rival", "write"))
    for method, request in [
        (door.ContinueRun, pb.ContinueRunRequest(run_id=run)),
        (door.BreakRun, pb.BreakRunRequest(run_id=run, at=["two"])),
    ]:
        assert (await refusal(method(request, metadata=reader)))[0] is CODE.PERMISSION_DENIED
        assert (await refusal(method(request, metadata=stranger)))[0] is CODE.NOT_FOUND


async def test_a_key_stands_for_one_set_of_breakpoints(gateway: GatewayUnderTest) -> None:
    run = await submitted(gateway, break_at=["two"], idempotency_key="k")
    assert await submitted(gateway, break_at=["two"], idempotency_key="k") == run
    assert (await refusal(submitted(gateway, idempotency_key="k")))[0] is CODE.ALREADY_EXISTS


async def test_values_are_changed_before_the_run_goes_on(served: GatewayUnderTest) -> None:
    door, auth = controls(served), served.auth()
    run = await submitted(served, break_at=["two"])
    await stopped(served, run, "two")
    request = pb.ContinueRunRequest(run_id=run)
    request.values["one.output"].number_value = 40
    await door.ContinueRun(request, metadata=auth)
    found = await ended(served, run)
    assert found.output.struct_value["three"] == 42
    assert {step.step: step.output.number_value for step in found.steps}["one"] == 40
    assert [(place, who.startswith("env:")) for place, who in found.changed_values.items()] == [("one.output", True)]


async def test_the_shared_state_is_changed_and_keeps_to_its_schema(served: GatewayUnderTest) -> None:
    door, auth = controls(served), served.auth()
    run = await submitted(served, text=GRAPH, break_at=["two"])
    await stopped(served, run, "two")
    request = pb.ContinueRunRequest(run_id=run)
    request.values["state.n"].string_value = "many"
    code, _, text = await refusal(door.ContinueRun(request, metadata=auth))
    assert (code, "n" in text, "many" in text) == (CODE.INVALID_ARGUMENT, True, False)
    request.values["state.n"].number_value = 40
    await door.ContinueRun(request, metadata=auth)
    found = await ended(served, run)
    assert (found.state["n"], dict(found.changed_values).keys()) == (41, {"state.n"})


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("one", "is not a value that can be changed (write STEP.output or, in a graph, state.KEY)"),
        ("state.n", "is not a value that can be changed"),
        ("three.output", "there is no step 'three' that has begun (these have completed: one)"),
        ("on.output", "there is no step 'on' that has begun (did you mean 'one'?)"),
    ],
)
async def test_what_can_not_be_changed_is_refused(served: GatewayUnderTest, place: str, said: str) -> None:
    run = await submitted(served, break_at=["two"])
    await stopped(served, run, "two")
    request = pb.ContinueRunRequest(run_id=run)
    request.values[place].number_value = 1
    code, kind, text = await refusal(controls(served).ContinueRun(request, metadata=served.auth()))
    assert (code, kind) == (CODE.INVALID_ARGUMENT, "unchangeable_value")
    assert said in text
    assert list((await shown(served, run)).stopped_before) == ["two"]
