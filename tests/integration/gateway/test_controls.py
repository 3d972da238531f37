"""Controls over the gateway's door: what is refused, what becomes a fact, and that twice is once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import pytest

from agentflow.v1 import control_pb2 as pb
from agentflow.v1 import control_pb2_grpc, workflow_pb2
from agentflow_common import events as ev
from agentflow_common import rpc, subjects
from agentflow_common.lanes.controls import control_key
from agentflow_common.log.event_log import Entry
from agentflow_common.runs.fold_facts import SIGNALS_MAX
from tests.support.gateway import EMAIL, GatewayUnderTest, details, running_gateway, stub
from tests.support.waiting import until

pytestmark = pytest.mark.integration
CODE = grpc.StatusCode
TEXT = """\
name: review
version: {version}
dag:
  nodes:
    - {{id: ask, type: approval, config: {{approvers: [ann, bob], required: 2, message: "may I?"}}}}
    - {{id: paid, type: signal, config: {{signal: paid}}}}
    - {{id: work, type: function, config: {{function_name: f, inputs: {{v: ask.output}}}}}}
"""


def controls(gateway: GatewayUnderTest) -> Any:
    return stub(control_pb2_grpc.RunControlServiceStub, gateway.channel)


def versions(gateway: GatewayUnderTest) -> Any:
    return stub(control_pb2_grpc.VersionServiceStub, gateway.channel)


def lanes(gateway: GatewayUnderTest) -> Any:
    return stub(control_pb2_grpc.LaneServiceStub, gateway.channel)


async def submitted(gateway: GatewayUnderTest, text: str = "", **fields: Any) -> str:
    request = workflow_pb2.SubmitWorkflowRequest(definition_text=text or TEXT.format(version=1), **fields)
    return str((await gateway.workflows.SubmitWorkflow(request, metadata=gateway.auth())).run_id)


async def waiting(gateway: GatewayUnderTest) -> str:
    """A run that waits for its approval and its signal, as the scheduler would have it."""
    run = await submitted(gateway)
    at: dict[str, Any] = {"org": "default", "run": run, "ts": 1_700_000_000_000}
    seen = (await facts(gateway, run))[0][0]
    await gateway.append(ev.RunStarted(**at, workflow="review", version=1, steps=3, seen=seen), "out_run")
    detail = {"approvers": ["ann", "bob"], "required": 2, "message": "may I?"}
    ask = ev.StepWaiting(**at, step="ask", attempt=1, kind="approval", detail=detail, seen=seen)
    await gateway.append(ask, "out_step")
    paid = ev.StepWaiting(**at, step="paid", attempt=1, kind="signal", detail={"signal": "paid"}, seen=seen)
    await gateway.append(paid, "out_step")
    return run


async def facts(gateway: GatewayUnderTest, run: str) -> list[tuple[int, Any]]:
    stored = await gateway.context.log.read(subjects.run_in(subjects.key_of("default", run)))
    return [(item.seq, ev.decode(item.data)) for item in stored]


async def refusal(call: Any) -> tuple[Any, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), details(caught.value)[0], str(caught.value.details())


async def test_cancel_pause_and_resume_are_facts_once(gateway: GatewayUnderTest) -> None:
    run, door, auth = await waiting(gateway), controls(gateway), gateway.auth()
    for _ in range(3):
        status = (await door.PauseRun(pb.PauseRunRequest(run_id=run, reason="lunch"), metadata=auth)).status
        assert status == workflow_pb2.RUN_STATUS_RUNNING
    for _ in range(2):
        await door.ResumeRun(pb.ResumeRunRequest(run_id=run), metadata=auth)
    request = workflow_pb2.CancelRunRequest(run_id=run, reason="enough", grace_ms=30_000)
    for _ in range(2):
        await gateway.workflows.CancelRun(request, metadata=auth)
    await gateway.workflows.CancelRun(workflow_pb2.CancelRunRequest(run_id=run, force=True), metadata=auth)
    said = [event for _, event in (await facts(gateway, run))[1:]]
    assert [type(event) for event in said] == [
        ev.RunPauseRequested, ev.RunResumeRequested, ev.RunCancelRequested, ev.RunCancelRequested,
    ]  # fmt: skip
    assert (said[0].reason, said[0].by.startswith("env:")) == ("lunch", True)
    assert [(event.grace_ms, event.force) for event in said[2:]] == [(30_000, False), (0, True)]
    code, _, text = await refusal(
        gateway.workflows.CancelRun(workflow_pb2.CancelRunRequest(run_id=run, grace_ms=5, force=True), metadata=auth)
    )
    assert (code, "no grace" in text) == (CODE.INVALID_ARGUMENT, True)


async def test_every_control_needs_write_and_a_run_of_the_own_org(gateway: GatewayUnderTest) -> None:
    run, door = await waiting(gateway), controls(gateway)
    reader, stranger = await gateway.key_for("default", "read"), await gateway.key_for("rival", "write")
    calls: list[tuple[Any, Any]] = [
        (door.PauseRun, pb.PauseRunRequest(run_id=run)),
        (door.ResumeRun, pb.ResumeRunRequest(run_id=run)),
        (door.SignalRun, pb.SignalRunRequest(run_id=run, name="paid")),
        (door.AnswerApproval, pb.AnswerApprovalRequest(run_id=run, step="ask", decision=1)),
        (door.ResolveOutcome, pb.ResolveOutcomeRequest(run_id=run, step="work", outcome=2)),
        (door.ForkRun, pb.ForkRunRequest(run_id=run, at="ask")),
        (door.RetryRun, pb.RetryRunRequest(run_id=run)),
    ]
    for method, request in calls:
        assert (await refusal(method(request, metadata=gateway.auth(reader))))[1] == "missing_permission", request
        code, reason, _ = await refusal(method(request, metadata=gateway.auth(stranger)))
        assert code in {CODE.NOT_FOUND, CODE.UNAVAILABLE}, (request, reason)
    assert (await refusal(door.ExplainRun(pb.ExplainRunRequest(run_id=run), metadata=gateway.auth(stranger))))[0] in {
        CODE.NOT_FOUND, CODE.UNAVAILABLE, CODE.PERMISSION_DENIED,
    }  # fmt: skip
    assert len(await facts(gateway, run)) == 1


async def test_a_signal_is_kept_once_and_only_while_there_is_room(gateway: GatewayUnderTest) -> None:
    run, door, auth = await waiting(gateway), controls(gateway), gateway.auth()
    request = pb.SignalRunRequest(run_id=run, name="paid", signal_id="bill-1")
    request.payload.struct_value.update({"amount": 7})
    first, second = await door.SignalRun(request, metadata=auth), await door.SignalRun(request, metadata=auth)
    assert (first.deduplicated, second.deduplicated) == (False, True)
    (_, said) = (await facts(gateway, run))[-1]
    assert (said.name, said.payload.value, bool(said.id)) == ("paid", {"amount": 7}, True)
    code, reason, text = await refusal(door.SignalRun(pb.SignalRunRequest(run_id=run, name="unheard"), metadata=auth))
    assert (code, reason, "wait for paid" in text) == (CODE.INVALID_ARGUMENT, "unknown_signal", True)
    key = subjects.key_of("default", run)
    at: dict[str, Any] = {"org": "default", "run": run, "ts": 1}
    room = 3
    kept = [
        await gateway.context.log.publish(
            Entry(subjects.run_in(key), ev.encode(ev.SignalReceived(**at, name="paid", id=f"n{number}")))
        )
        for number in range(SIGNALS_MAX - 1 - room)
    ]
    await asyncio.gather(*kept)
    answers = await asyncio.gather(
        *(door.SignalRun(pb.SignalRunRequest(run_id=run, name="paid"), metadata=auth) for _ in range(room + 5)),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert len(answers) - len(refused) == room, "no two of them may take the last place"
    assert {item.code() for item in refused} <= {CODE.RESOURCE_EXHAUSTED, CODE.ABORTED}
    code, reason, _ = await refusal(door.SignalRun(pb.SignalRunRequest(run_id=run, name="paid"), metadata=auth))
    assert (code, reason) == (CODE.RESOURCE_EXHAUSTED, "signals_full")
    assert (await door.SignalRun(request, metadata=auth)).deduplicated, "a repeated one is no new one"


async def test_an_answer_is_bound_to_its_person_and_its_step(gateway: GatewayUnderTest) -> None:
    run, door = await waiting(gateway), controls(gateway)

    async def key_of(name: str, *permissions: str) -> str:
        from agentflow_gateway import keys

        return (await keys.create(gateway.store.keys, "default", permissions, name, 1))[1]

    def answer(step: str = "ask", decision: int = 1, **more: Any) -> Any:
        return pb.AnswerApprovalRequest(run_id=run, step=step, decision=decision, **more)

    ann, eve, boss = await key_of("ann", "write"), await key_of("eve", "write"), await key_of("boss", "admin")
    given = await door.AnswerApproval(answer(comment="fine"), metadata=gateway.auth(ann))
    assert (given.by, given.repeated, given.approvals, given.required) == ("ann", False, 1, 2)
    again = await door.AnswerApproval(answer(), metadata=gateway.auth(ann))
    assert (again.repeated, again.approvals) == (True, 1)
    for key, request, code, reason in (
        (ann, answer(decision=2), CODE.ALREADY_EXISTS, "answered_already"),
        (eve, answer(), CODE.PERMISSION_DENIED, "not_an_approver"),
        (eve, answer(as_person="bob"), CODE.PERMISSION_DENIED, "missing_permission"),
        (boss, answer(as_person="eve"), CODE.PERMISSION_DENIED, "not_an_approver"),
        (ann, answer("paid"), CODE.INVALID_ARGUMENT, "invalid_error"),
        (ann, answer("work"), CODE.INVALID_ARGUMENT, "invalid_error"),
        (ann, answer("nope"), CODE.NOT_FOUND, "unknown_step"),
        (ann, answer(decision=0), CODE.INVALID_ARGUMENT, "invalid_error"),
    ):
        assert (await refusal(door.AnswerApproval(request, metadata=gateway.auth(key))))[:2] == (code, reason), request
    told = await door.AnswerApproval(answer(as_person="bob"), metadata=gateway.auth(boss))
    assert (told.by, told.approvals) == ("bob", 2)
    said = [event for _, event in await facts(gateway, run) if isinstance(event, ev.ApprovalGiven)]
    assert [(event.by, event.comment, event.via.split(":")[0]) for event in said] == [
        ("ann", "fine", ""), ("bob", "", "boss"),
    ]  # fmt: skip
    seen = (await facts(gateway, run))[-1][0]
    at: dict[str, Any] = {"org": "default", "run": run, "ts": 2, "seen": seen}
    await gateway.append(ev.StepResolved(**at, step="ask", attempt=1, status="completed"), "out_step")
    assert (await door.AnswerApproval(answer(as_person="bob"), metadata=gateway.auth(boss))).repeated
    fresh = await waiting(gateway)
    seen = (await facts(gateway, fresh))[-1][0]
    at = {"org": "default", "run": fresh, "ts": 2, "seen": seen}
    await gateway.append(ev.StepResolved(**at, step="ask", attempt=1, status="completed"), "out_step")
    late = pb.AnswerApprovalRequest(run_id=fresh, step="ask", decision=1)
    code, reason, text = await refusal(door.AnswerApproval(late, metadata=gateway.auth(ann)))
    assert (code, reason, "its status is completed" in text) == (CODE.FAILED_PRECONDITION, "approval_over", True)


async def test_open_approvals_are_listed_across_runs_and_go_when_they_are_decided(gateway: GatewayUnderTest) -> None:
    runs = [await waiting(gateway) for _ in range(3)]
    door, auth = controls(gateway), gateway.auth()

    async def listed(**fields: Any) -> list[Any]:
        return list((await door.ListApprovals(pb.ListApprovalsRequest(**fields), metadata=auth)).approvals)

    async def three() -> bool:
        return len(await listed()) == 3

    await until(three)
    item = (await listed())[0]
    assert (item.workflow, item.step, item.message, list(item.approvers), item.required) == (
        "review", "ask", "may I?", ["ann", "bob"], 2,
    )  # fmt: skip
    assert len(await listed(approver="ann")) == 3
    assert await listed(approver="eve") == await listed(workflow="other") == []
    first = await door.ListApprovals(pb.ListApprovalsRequest(page_size=2), metadata=auth)
    rest = await door.ListApprovals(
        pb.ListApprovalsRequest(page_size=2, page_token=first.next_page_token), metadata=auth
    )
    assert sorted(one.run_id for one in (*first.approvals, *rest.approvals)) == sorted(runs)
    seen = (await facts(gateway, runs[0]))[-1][0]
    at: dict[str, Any] = {"org": "default", "run": runs[0], "ts": 2, "seen": seen}
    await gateway.append(ev.StepResolved(**at, step="ask", attempt=1, status="completed"), "out_step")
    assert {one.run_id for one in await listed()} == set(runs[1:]), "the log decides, not the table"
    await gateway.append(ev.RunCancelled(**{**at, "run": runs[1]}), "out_run")

    async def forgotten() -> bool:
        rows = await gateway.context.log.nc.jsm().consumer_info(
            subjects.EVENTS_STREAM, subjects.durable("gateway", "approvals")
        )
        return rows.num_pending == 0 and len(await listed()) == 1

    await until(forgotten)


async def test_labels_decide_at_submission_and_runs_keep_what_they_were_pinned_to(gateway: GatewayUnderTest) -> None:
    door, auth = versions(gateway), gateway.auth()
    for version in (1, 2):
        text = TEXT.format(version=version).replace("may I?", f"may I {version}?")
        await gateway.workflows.RegisterWorkflow(
            workflow_pb2.RegisterWorkflowRequest(definition_text=text), metadata=auth
        )

    async def label(version: int, **fields: Any) -> Any:
        request = pb.SetLabelRequest(workflow="review", version=version, label="prod", **fields)
        return await door.SetLabel(request, metadata=auth)

    async def run() -> Any:
        request = workflow_pb2.SubmitWorkflowRequest(workflow="review@prod")
        made = (await gateway.workflows.SubmitWorkflow(request, metadata=auth)).run_id
        return (await facts(gateway, made))[0][1]

    code, reason, text = await refusal(run())
    assert (code, reason, "no label 'prod'" in text) == (CODE.NOT_FOUND, "unknown_label", True)
    assert (await refusal(label(7)))[1] == "unknown_version"
    assert (await label(1)).changed and not (await label(1)).changed
    assert (await run()).version == 1
    assert (await label(2, percent=50)).canary_percent == 50
    chosen = [(await run()).version for _ in range(24)]
    assert set(chosen) == {1, 2}
    listed = await door.ListVersions(pb.ListVersionsRequest(workflow="review"), metadata=auth)
    assert [(row.version, list(row.labels)) for row in listed.versions] == [(2, ["prod 50%"]), (1, ["prod 50%"])]
    await label(2)
    assert (await run()).version == 2
    found = await door.DiffWorkflows(
        pb.DiffWorkflowsRequest(
            old=pb.DefinitionSource(workflow="review@1"), new=pb.DefinitionSource(workflow="review@prod")
        ),
        metadata=auth,
    )
    assert [(c.kind, c.name, c.fields[0].path, c.fields[0].old.string_value) for c in found.changes] == [
        ("node", "ask", "config.message", "may I 1?")
    ]
    await door.SetLabel(pb.SetLabelRequest(workflow="review", label="prod", remove=True), metadata=auth)
    assert (await refusal(run()))[1] == "unknown_label"


async def test_a_workflow_s_pause_and_a_lane_s_limits_are_kept_where_the_engine_watches(
    gateway: GatewayUnderTest,
) -> None:
    door, auth = controls(gateway), gateway.auth()
    await waiting(gateway)
    bucket = await gateway.context.log.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
    request = pb.PauseWorkflowRequest(workflow="review", reason="a bug")
    await door.PauseWorkflow(request, metadata=auth)
    await door.PauseWorkflow(request, metadata=auth)
    entry = await bucket.get("workflow.default.review")
    assert b'"paused":true' in entry.value and entry.revision == 1
    assert (await door.ResumeWorkflow(pb.ResumeWorkflowRequest(workflow="review"), metadata=auth)).changed
    assert not (await door.ResumeWorkflow(pb.ResumeWorkflowRequest(workflow="review"), metadata=auth)).changed
    missing = await refusal(door.PauseWorkflow(pb.PauseWorkflowRequest(workflow="revew"), metadata=auth))
    assert missing[0] is CODE.NOT_FOUND

    lane = (await lanes(gateway).SetLane(pb.SetLaneRequest(name="acme 42", limit=3), metadata=auth)).lane
    assert (lane.limit, lane.keyed, lane.paused) == (3, True, False)
    paused = (await lanes(gateway).SetLane(pb.SetLaneRequest(name="acme 42", paused=True), metadata=auth)).lane
    assert (paused.limit, paused.paused) == (3, True)
    got = (await lanes(gateway).GetLane(pb.GetLaneRequest(name="acme 42"), metadata=auth)).lane
    assert got == paused
    names = [item.name for item in (await lanes(gateway).ListLanes(pb.ListLanesRequest(), metadata=auth)).lanes]
    assert names == ["acme 42"]
    assert (await refusal(lanes(gateway).GetLane(pb.GetLaneRequest(name="nope"), metadata=auth)))[1] == "unknown_lane"
    await lanes(gateway).SetLane(pb.SetLaneRequest(name="a*", limit=7, paused=True, reason="audit"), metadata=auth)
    by_pattern = (await lanes(gateway).GetLane(pb.GetLaneRequest(name="ab\n"), metadata=auth)).lane
    assert (by_pattern.limit, by_pattern.paused, by_pattern.reason) == (7, True, "audit")
    own = (await lanes(gateway).SetLane(pb.SetLaneRequest(name="ab\n", paused=False), metadata=auth)).lane
    assert (own.limit, own.paused) == (7, False), "it is taken out of the pattern's pause, and keeps its limit"
    assert b'"limit":7' in (await bucket.get(control_key("ab\n"))).value
    assert (await lanes(gateway).GetLane(pb.GetLaneRequest(name="acme 42"), metadata=auth)).lane == paused
    admin = await gateway.key_for("default", "admin")
    short = await refusal(lanes(gateway).SetLane(pb.SetLaneRequest(name="a", limit=1), metadata=gateway.auth(admin)))
    assert (short[0], "operator" in short[2]) == (CODE.PERMISSION_DENIED, True)
    bad = await refusal(lanes(gateway).SetLane(pb.SetLaneRequest(name="a", limit=-1), metadata=auth))
    assert bad[0] is CODE.INVALID_ARGUMENT


async def test_subworkflows_are_pinned_and_loops_of_them_refused_with_the_chain(gateway: GatewayUnderTest) -> None:
    auth = gateway.auth()

    def text(name: str, child: str = "", version: int = 1) -> str:
        node = f"{{id: s, type: subworkflow, config: {{workflow: {child}, inputs: {{}}}}}}" if child else (
            "{id: s, type: llm, config: {prompt_ref: summarizer}}"
        )  # fmt: skip
        return f"name: {name}\nversion: {version}\ndag:\n  nodes: [{node}]\n"

    async def register(body: str) -> None:
        request = workflow_pb2.RegisterWorkflowRequest(definition_text=body)
        await gateway.workflows.RegisterWorkflow(request, metadata=auth)

    missing = await refusal(register(text("top", "leaf@1")))
    assert (missing[0], "no workflow 'leaf'" in missing[2]) == (CODE.INVALID_ARGUMENT, True)
    await register(text("leaf"))
    await register(text("middle", "leaf"))
    run = await submitted(gateway, text("top", "middle@1"))
    event = (await facts(gateway, run))[0][1]
    assert set(event.definitions) == {"middle@1", "leaf"}
    assert event.prompts == {"summarizer": "summarizer@2"}
    await register(text("leaf", "middle", version=2))
    code, _, told = await refusal(submitted(gateway, text("top", "middle@1")))
    assert (code, "middle@1 -> leaf@2 -> middle@1" in told) == (CODE.INVALID_ARGUMENT, True)
    for level in range(8):
        await register(text(f"level{level}", f"level{level - 1}" if level else "leaf@1"))
    code, _, told = await refusal(submitted(gateway, text("deep", "level7")))
    assert (code, "nested 9 deep, the limit is 8: deep@1 -> level7@1" in told) == (CODE.INVALID_ARGUMENT, True)


async def test_a_fork_takes_over_the_redactions_of_its_origin(gateway: GatewayUnderTest) -> None:
    text = TEXT.format(version=1).replace(
        "dag:", "inputs: {mail: {type: string}, n: {type: integer, default: 1}}\ndag:"
    )
    request = workflow_pb2.SubmitWorkflowRequest(definition_text=text)
    request.inputs.update({"mail": f"to {EMAIL}"})
    run = (await gateway.workflows.SubmitWorkflow(request, metadata=gateway.auth())).run_id
    fork = pb.ForkRunRequest(run_id=run, at="ask", tags={"why": "test"})
    fork.changes.inputs.update({"n": 2})
    made = await controls(gateway).ForkRun(fork, metadata=gateway.auth())
    asked = [item for item in gateway.neighbours.asked if isinstance(item, rpc.AdoptRequest)]
    assert [(item.run, item.origin) for item in asked] == [(made.run_id, run)]
    event = (await facts(gateway, made.run_id))[0][1]
    assert event.inputs.value == {"mail": "to <EMAIL_ADDRESS:ABCDEF>", "n": 2}
    assert (event.origin.run, event.origin.kind, event.origin.step) == (run, "fork", "ask")
    assert event.tags == {"why": "test", "agentflow.origin": run}
    wrong = pb.ForkRunRequest(run_id=run, at="ask")
    wrong.changes.inputs.update({"m": 2})
    code, _, told = await refusal(controls(gateway).ForkRun(wrong, metadata=gateway.auth()))
    assert (code, "inputs.m" in told) == (CODE.INVALID_ARGUMENT, True)


async def test_each_org_has_its_own_bound(nats_url: str, db_env: dict[str, str]) -> None:
    async with running_gateway(nats_url, db_env, max_active_runs_per_org=2) as gateway:
        runs = [await submitted(gateway) for _ in range(2)]
        code, reason, told = await refusal(submitted(gateway))
        assert (code, reason) == (CODE.RESOURCE_EXHAUSTED, "too_many_active")
        assert "2 runs of org default are active, the limit is 2: nothing was accepted" in told
        rival = await gateway.key_for("rival", "write")
        request = workflow_pb2.SubmitWorkflowRequest(definition_text=TEXT.format(version=1))
        assert (await gateway.workflows.SubmitWorkflow(request, metadata=gateway.auth(rival))).run_id
        at: dict[str, Any] = {"org": "default", "run": runs[0], "ts": 2}
        await gateway.append(ev.RunCancelled(**at), "out_run")

        async def room() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                return bool(await submitted(gateway))
            return False

        await until(room)
