"""Keys, orgs, definitions, lists and health through real gRPC, NATS and PostgreSQL."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import grpc
import pytest

from agentflow.v1 import prompt_pb2, prompt_pb2_grpc, trace_pb2, trace_pb2_grpc, workflow_pb2
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry
from agentflow_gateway.store.runs import RunFilter
from tests.support.gateway import (
    DEFINITION,
    EMAIL,
    GatewayUnderTest,
    changed,
    database_env,
    running_gateway,
    stub,
)
from tests.support.waiting import until

pytestmark = pytest.mark.integration


async def test_keys_permissions_and_orgs(gateway: GatewayUnderTest) -> None:
    reader, other = await gateway.key_for("default", "read"), await gateway.key_for("rival", "read", "write", "admin")
    run = (await gateway.submit()).run_id
    get = workflow_pb2.GetRunRequest(run_id=run)
    code = grpc.StatusCode

    async def refused(call: Any, expected: grpc.StatusCode, text: str) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is expected
        assert text in caught.value.details()

    workflows = gateway.workflows
    await refused(workflows.GetRun(get), code.UNAUTHENTICATED, "authorization: Bearer")
    await refused(workflows.GetRun(get, metadata=gateway.auth("nonsense")), code.UNAUTHENTICATED, "not known")
    crossed = gateway.auth(**{"x-org-id": "default"}, key=other)
    await refused(workflows.GetRun(get, metadata=crossed), code.PERMISSION_DENIED, "unknown org or not yours")
    unknown = gateway.auth(**{"x-org-id": "nobody"})
    await refused(workflows.GetRun(get, metadata=unknown), code.PERMISSION_DENIED, "unknown org or not yours")
    await refused(gateway.submit(reader), code.PERMISSION_DENIED, "`write`")
    reveal = workflow_pb2.GetRunRequest(run_id=run, reveal=True, reveal_reason="why not")
    await refused(workflows.GetRun(reveal, metadata=gateway.auth(reader)), code.PERMISSION_DENIED, "`reveal`")
    for call in (
        workflows.GetRun(get, metadata=gateway.auth(other)),
        workflows.CancelRun(workflow_pb2.CancelRunRequest(run_id=run), metadata=gateway.auth(other)),
        stub(trace_pb2_grpc.TraceServiceStub, gateway.channel).GetTrace(
            trace_pb2.GetTraceRequest(run_id=run), metadata=gateway.auth(other)
        ),
        workflows.WatchRun(workflow_pb2.WatchRunRequest(run_id=run), metadata=gateway.auth(other)).read(),
    ):
        await refused(call, code.NOT_FOUND, "no run")
    for bad_id in ("*", "a.b", ">", ""):
        call = workflows.GetRun(workflow_pb2.GetRunRequest(run_id=bad_id), metadata=gateway.auth())
        await refused(call, code.INVALID_ARGUMENT, "run_id")
    found = await workflows.GetRun(get, metadata=(("x-api-key", reader), ("x-org-id", "default")))
    assert found.run.run_id == run
    (row,) = [row for row in await gateway.store.keys.list("default") if row.permissions == ("read",)]
    assert await gateway.store.keys.revoke(row.id, 2)
    async with running_gateway(gateway.context.settings.nats_url, database_env(gateway), api_key=gateway.key) as again:
        await refused(again.workflows.GetRun(get, metadata=gateway.auth(reader)), code.UNAUTHENTICATED, "revoked")


async def test_runs_are_listed_filtered_and_paged(gateway: GatewayUnderTest) -> None:
    runs = [(await gateway.submit()).run_id for _ in range(5)]
    await gateway.finish(runs[1])
    workflows, code = gateway.workflows, workflow_pb2

    async def completed() -> bool:
        request = code.ListRunsRequest(status=code.RUN_STATUS_COMPLETED)
        listed = (await workflows.ListRuns(request, metadata=gateway.auth())).runs
        return [(r.run_id, r.cost_nano_usd) for r in listed] == [(runs[1], 42)]

    await until(completed)
    seen, token = [], ""
    while True:
        request = code.ListRunsRequest(page_size=2, page_token=token, workflow="review")
        page = await workflows.ListRuns(request, metadata=gateway.auth())
        seen += [r.run_id for r in page.runs]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted(runs)
    rival = await gateway.key_for("rival", "read")
    assert not (await workflows.ListRuns(code.ListRunsRequest(), metadata=gateway.auth(rival))).runs


async def test_the_projection_starts_over_and_buries_poison(nats_url: str, db_env: dict[str, str]) -> None:
    async with running_gateway(nats_url, db_env) as gateway:
        key = subjects.key_of("default", "run_x")
        await gateway.context.log.append(Entry(subjects.out_run(key), b"not an event"))
        run = (await gateway.submit()).run_id
        at: dict[str, Any] = {"org": "default", "run": run, "ts": 9}
        await gateway.append(ev.RunCancelled(**at, reason="never began"), "out_run")

        async def cancelled() -> bool:
            rows = await gateway.store.runs.find(
                "default", RunFilter(statuses=("cancelled",), workflow="review"), None, 10
            )
            return [row.run for row in rows] == [run]

        await until(cancelled)
        (dead,) = await until(lambda: gateway.context.log.read("af.dead.gateway.>", stream=subjects.DEAD_STREAM))
        assert dead.data == b"not an event"
        await gateway.store.pool.execute("TRUNCATE runs")
        await gateway.submit()  # lists itself, before any decision: the table still lacks what was decided
        await gateway.store.runs.settled()
    async with running_gateway(nats_url, db_env) as gateway:
        await until(cancelled_again(gateway, run))


def cancelled_again(gateway: GatewayUnderTest, run: str) -> Any:
    async def check() -> bool:
        rows = await gateway.store.runs.find("default", RunFilter(statuses=("cancelled",), workflow="review"), None, 10)
        return [row.run for row in rows] == [run]

    return check


async def test_cancel_is_recorded_once(gateway: GatewayUnderTest) -> None:
    run = (await gateway.submit()).run_id
    request = workflow_pb2.CancelRunRequest(run_id=run, reason=f"asked by {EMAIL}")
    for _ in range(3):
        reply = await gateway.workflows.CancelRun(request, metadata=gateway.auth())
        assert reply.status == workflow_pb2.RUN_STATUS_PENDING
    stored = await gateway.context.log.read(subjects.run_in(subjects.key_of("default", run)))
    events = [ev.decode(item.data) for item in stored]
    assert [type(event) for event in events] == [ev.RunSubmitted, ev.RunCancelRequested]
    assert EMAIL.encode() not in stored[1].data
    await gateway.finish(run)
    reply = await gateway.workflows.CancelRun(request, metadata=gateway.auth())
    assert reply.status == workflow_pb2.RUN_STATUS_COMPLETED


async def test_definitions_are_immutable_and_checked_against_the_workers(gateway: GatewayUnderTest) -> None:
    register = gateway.workflows.RegisterWorkflow
    request = workflow_pb2.RegisterWorkflowRequest(definition_text=DEFINITION)
    made, again = [await register(request, metadata=gateway.auth()) for _ in range(2)]
    assert (made.created, again.created, made.digest == again.digest) == (True, False, True)
    other = workflow_pb2.RegisterWorkflowRequest(definition_text=changed("default: 3", "default: 4"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await register(other, metadata=gateway.auth())
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert "raise `version` to 2" in caught.value.details()
    by_name = workflow_pb2.SubmitWorkflowRequest(workflow="review@1")
    by_name.inputs.update({"text": "hello"})
    assert (await gateway.workflows.SubmitWorkflow(by_name, metadata=gateway.auth())).run_id
    for name, text in (("reviw", "did you mean 'review'"), ("review@7", "has no version 7")):
        by_name.workflow = name
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.workflows.SubmitWorkflow(by_name, metadata=gateway.auth())
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert text in caught.value.details()
    bucket = await gateway.context.nc.jetstream().key_value(subjects.REGISTRY_BUCKET)
    await bucket.put("function.text_spliter", b"{}")
    validate = workflow_pb2.ValidateWorkflowRequest(definition_text=DEFINITION)

    async def problems() -> Any:  # what was read before lives on for 2 s
        return (await gateway.workflows.ValidateWorkflow(validate, metadata=gateway.auth())).problems

    (problem,) = await until(problems)
    assert problem.place == "line 10, dag.nodes[0].config.function_name"
    assert problem.fix == "did you mean 'text_spliter'?"


async def test_usage_18_unknown_names_come_with_the_mistakes_of_the_text(gateway: GatewayUnderTest) -> None:
    bucket = await gateway.context.nc.jetstream().key_value(subjects.REGISTRY_BUCKET)
    await bucket.put("function.text_spliter", b"{}")
    text = DEFINITION.replace("version: 1", "version: 1\ntagz: {}").replace("summarizer", "sumarizer")
    validate = workflow_pb2.ValidateWorkflowRequest(definition_text=text)

    async def told() -> Any:  # what was read before lives on for 2 s
        reply = await gateway.workflows.ValidateWorkflow(validate, metadata=gateway.auth())
        found = [problem.message for problem in reply.problems]
        return found if any("text_splitter" in message for message in found) else None

    found = await until(told)
    assert any("'tagz'" in message for message in found), found
    assert any("sumarizer" in message for message in found), found


async def test_a_service_that_is_away_is_named(gateway: GatewayUnderTest) -> None:
    prompts = stub(prompt_pb2_grpc.PromptServiceStub, gateway.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await prompts.GetPrompt(prompt_pb2.GetPromptRequest(name="x"), metadata=gateway.auth(), timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "prompt service" in caught.value.details()


async def test_health_reflection_and_garbage(gateway: GatewayUnderTest) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    health = health_pb2_grpc.HealthStub(gateway.channel)
    for service in ("", "agentflow.v1.WorkflowService"):
        assert (await health.Check(health_pb2.HealthCheckRequest(service=service))).status == 1
    reflection = reflection_pb2_grpc.ServerReflectionStub(gateway.channel)
    stream = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    reply = await stream.read()
    names = {service.name for service in reply.list_services_response.service}
    assert {"agentflow.v1.WorkflowService", "agentflow.v1.TraceService"} <= names
    stream.cancel()
    raw = gateway.channel.unary_unary("/agentflow.v1.WorkflowService/GetRun")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(b"\xff\xff\xff", metadata=gateway.auth())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_dev_key_is_made_once_and_kept_secret(
    nats_url: str, db_env: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    file = tmp_path / "keys" / "dev"
    async with running_gateway(nats_url, db_env, api_key="", dev_key_file=file) as gateway:
        key = file.read_text().strip()
        assert (key.startswith("afk_"), file.stat().st_mode & 0o777) == (True, 0o600)
        run = (await gateway.submit(key)).run_id
        (line,) = [vars(record) for record in caplog.records if getattr(record, "method", "") == "SubmitWorkflow"]
        assert (line["org"], line["run"], len(line["trace"])) == ("default", run, 32)
    async with running_gateway(nats_url, db_env, api_key="", dev_key_file=file):
        assert file.read_text().strip() == key
    env_key = secrets.token_hex(12)
    async with running_gateway(nats_url, db_env, api_key=env_key) as gateway:
        assert (await gateway.submit(env_key)).run_id
        assert (await gateway.submit(key)).run_id
        assert not [row for row in await gateway.store.keys.list() if key in repr(row)]
    assert key not in caplog.text
    assert env_key not in caplog.text


async def test_the_keys_of_the_settings_work_with_their_org_and_permissions(
    nats_url: str, db_env: dict[str, str]
) -> None:
    key = secrets.token_hex(16)
    given = [{"key": key, "org_id": "acme", "permissions": ["write", "read"]}]
    for _ in range(2):  # a start that finds the key changes nothing
        async with running_gateway(nats_url, db_env, api_keys=given) as gateway:
            (row,) = await gateway.store.keys.list("acme")
            assert (row.org, row.permissions, row.name) == ("acme", ("read", "write"), "settings")
            assert (await gateway.submit(key)).run_id
