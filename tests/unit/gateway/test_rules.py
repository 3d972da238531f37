"""The gateway's decisions, without servers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf import struct_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from agentflow.v1 import control_pb2, workflow_pb2
from agentflow_common import events as ev
from agentflow_common.errors import (
    AgentFlowError,
    InvalidError,
    OverloadedError,
    PermissionDeniedError,
    Problem,
    UnauthenticatedError,
)
from agentflow_gateway import auth_rules
from agentflow_gateway.api import convert, errors, pages
from agentflow_gateway.auth_rules import Identity
from agentflow_gateway.controls.batch import Order
from agentflow_gateway.definitions import unknown_names
from agentflow_gateway.grpc_services import registration
from agentflow_gateway.operations.lanes import LaneChange
from agentflow_gateway.runs import submission
from agentflow_gateway.runs.progress import Progress
from agentflow_gateway.runs.projection import rows_of
from agentflow_gateway.runs.submission import Submission
from agentflow_gateway.store.runs import RunFilter
from tests.support import reported_together
from tests.support.api import API_METHODS

READER = Identity("key_1", "acme", ("read",))
ADMIN = Identity("key_2", "acme", ("admin",), "ops")


@pytest.mark.parametrize(
    ("identity", "method", "org", "allowed"),
    [
        (READER, "GetRun", "", True),
        (READER, "GetRun", "acme", True),
        (READER, "GetRun", "other", False),
        (READER, "SubmitWorkflow", "", False),
        (READER, "CreateBudget", "", False),
        (ADMIN, "SubmitWorkflow", "", True),
        (ADMIN, "CreateBudget", "", True),
        (ADMIN, "GetRun", "other", False),
        (ADMIN, "MethodOfTomorrow", "", False),
    ],
)
def test_authorisation(identity: Identity, method: str, org: str, allowed: bool) -> None:
    if allowed:
        auth_rules.authorise(identity, method, org)
    else:
        with pytest.raises(PermissionDeniedError):
            auth_rules.authorise(identity, method, org)


def test_every_method_of_the_api_has_a_permission() -> None:
    assert {method.name for method in API_METHODS} == set(auth_rules.PERMISSION_OF)


def test_every_service_of_the_api_is_served() -> None:
    assert set(registration.handlers("")) == {method.containing_service.full_name for method in API_METHODS}


def test_admin_does_not_include_reveal() -> None:
    with pytest.raises(PermissionDeniedError, match="reveal"):
        auth_rules.require(ADMIN, "reveal", "GetRun with reveal")


def test_credentials_come_in_two_headers() -> None:
    assert auth_rules.bearer_key({"authorization": "Bearer  abc "}) == "abc"
    assert auth_rules.bearer_key({"authorization": "bearer abc"}) == "abc"
    assert auth_rules.bearer_key({"x-api-key": "abc"}) == "abc"
    for metadata in ({}, {"authorization": "abc"}, {"authorization": "Basic abc"}, {"authorization": "Bearer "}):
        with pytest.raises(UnauthenticatedError, match="Bearer <api key>"):
            auth_rules.bearer_key(metadata)


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        (Submission(budget_cents=0), "budget_cents"),
        (Submission(budget_cents=-1), "budget_cents"),
        (Submission(deadline_ms=0), "deadline_ms"),
        (Submission(priority=101), "priority"),
        (Submission(idempotency_key="k" * 257), "idempotency_key"),
        (Submission(tags={"a b": "c"}), "tags['a b']"),
        (Submission(tags={"a": "c" * 257}), "tags['a']"),
        (Submission(tags={f"t{n}": "" for n in range(33)}), "tags"),
    ],
)
def test_bounds_of_a_submission(request_: Submission, place: str) -> None:
    with pytest.raises(InvalidError) as caught:
        submission.check_submission(request_)
    assert [p.place for p in caught.value.problems] == [place]
    assert caught.value.problems[0].fix


def test_submission_digest_covers_what_was_asked_and_nothing_else() -> None:
    secret = b"s" * 32
    base = submission.submission_digest(secret, "o", "ref:w", {"a": 1, "b": 2}, Submission(idempotency_key="k"))
    assert base == submission.submission_digest(
        secret, "o", "ref:w", {"b": 2, "a": 1}, Submission(idempotency_key="other")
    )
    others = [
        submission.submission_digest(b"t" * 32, "o", "ref:w", {"a": 1, "b": 2}, Submission()),
        submission.submission_digest(secret, "p", "ref:w", {"a": 1, "b": 2}, Submission()),
        submission.submission_digest(secret, "o", "ref:w@1", {"a": 1, "b": 2}, Submission()),
        submission.submission_digest(secret, "o", "ref:w", {"a": 1, "b": 3}, Submission()),
        submission.submission_digest(secret, "o", "ref:w", {"a": 1, "b": 2}, Submission(budget_cents=5)),
        submission.submission_digest(secret, "o", "ref:w", {"a": 1, "b": 2}, Submission(tags={"a": "b"})),
    ]
    assert len({base, *others}) == len(others) + 1


class _Asked(NamedTuple):
    page_token: str = ""
    page_size: int = 0


def test_a_page_continues_after_the_last_item_of_the_one_before() -> None:
    page = pages.Page(_Asked(page_size=2), "runs", "failed", "w")
    assert (page.limit, page.after, page.after_name) == (2, None, "")
    shown, token = page.cut(["a", "b", "c"], lambda item: (5, item))
    assert shown == ["a", "b"]
    after = pages.Page(_Asked(token), "runs", "failed", "w").after
    assert after is not None
    assert (after.number, after.name) == (5, "b")
    assert page.cut(["a", "b"], lambda item: (5, item)) == (["a", "b"], "")


def test_a_page_token_is_refused_by_another_list_and_by_other_filters() -> None:
    token = pages.Page(_Asked(), "runs", "failed").token(5, "run_1")
    for kind, filters in (("runs", ("completed",)), ("runs", ()), ("traces", ("failed",))):
        with pytest.raises(InvalidError, match="other filters"):
            pages.Page(_Asked(token), kind, *filters)


def test_a_page_token_that_is_not_one_of_ours_is_refused() -> None:
    def token(number: int, name: str) -> str:
        return pages.token(pages.Place("runs", (), number, name))

    assert pages.Page(_Asked(token(5, "run_1")), "runs").after == pages.Place("runs", (), 5, "run_1")
    for bad in ("%%%", token(5, "run_1")[:-4], "\u00fc", token(2**63, "run_1"), token(-1, "run_1"), token(5, "a\x00")):
        with pytest.raises(InvalidError, match="not valid"):
            pages.Page(_Asked(bad), "runs")


def test_a_message_takes_the_fields_of_a_struct_and_forgets_none() -> None:
    error = ev.StepError("boom", "it broke", retryable=True)
    assert convert.error_info(error) == workflow_pb2.ErrorInfo(type="boom", message="it broke", retryable=True)
    with pytest.raises(TypeError, match=r"Problem needs fix, place$"):
        convert.message_of(workflow_pb2.Problem, error)


def test_a_struct_takes_the_fields_of_a_message_and_forgets_none() -> None:
    request = control_pb2.SetLaneRequest(name="gpu", limit=0, paused=True, reason="full")
    assert convert.struct_of(LaneChange, request) == LaneChange(0, None, True, "full"), "an unset field is None"

    request = control_pb2.BatchRunsRequest(grace_ms=5, signal="go", payload=struct_pb2.Value(number_value=3))
    assert convert.struct_of(Order, request, action="signal", batch="b") == Order("signal", "", 5, False, "go", 3, "b")

    chosen = control_pb2.RunFilter(workflow="w", tags={"a": "b"}, since=7)
    found = convert.struct_of(RunFilter, chosen, statuses=("failed",), run_prefix="", version=0)
    assert found == RunFilter(statuses=("failed",), workflow="w", tags={"a": "b"}, since=7)
    assert type(found.tags) is dict
    with pytest.raises(TypeError, match=r"RunFilter needs run_prefix, version$"):
        convert.struct_of(RunFilter, chosen, statuses=())


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_json_survives_protobuf(value: dict[str, object]) -> None:
    struct = struct_pb2.Struct()
    convert.set_struct(struct, value)
    back = convert.from_struct(struct_pb2.Struct.FromString(struct.SerializeToString()), "inputs")
    assert back == value


def test_integral_numbers_are_integers_again() -> None:
    struct = struct_pb2.Struct()
    struct.update({"n": 3, "x": 1.5, "big": 1e300})
    back = convert.from_struct(struct, "inputs")
    assert (type(back["n"]), type(back["x"]), type(back["big"])) == (int, float, float)
    struct.update({"list": [1, {"deep": 0}]})
    struct.fields["list"].list_value.values[1].struct_value.fields["deep"].number_value = math.nan
    with pytest.raises(InvalidError) as caught:
        convert.from_struct(struct, "inputs")
    assert caught.value.problems[0].place == "inputs.list[1].deep"


def test_rich_status_fits_into_trailers() -> None:
    problems = tuple(Problem(f"line {n}, dag.nodes[{n}]", "m" * 400, "f" * 400) for n in range(50))
    error = OverloadedError("x" * 5000, kind="many", problems=problems, retry_after_ms=1500)
    status = errors.to_status(error)
    assert status.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    (key, raw), *_ = status.trailing_metadata
    assert key == "grpc-status-details-bin"
    assert len(raw) * 4 / 3 + len(status.details) < 8000
    rich = status_pb2.Status.FromString(raw)
    info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    assert [rich.details[0].Unpack(info), rich.details[1].Unpack(retry), rich.details[2].Unpack(bad)] == [True] * 3
    assert (info.reason, info.domain, retry.retry_delay.ToMilliseconds()) == ("many", "agentflow", 1500)
    assert bad.field_violations[0].field == "line 0, dag.nodes[0]"
    assert bad.field_violations[0].localized_message.message.startswith("fff")
    assert "more" in bad.field_violations[-1].description


def test_unforeseen_errors_tell_the_client_nothing_but_an_id(caplog: pytest.LogCaptureFixture) -> None:
    secret_text = "the payload"
    error = errors.for_client(KeyError(secret_text))
    assert isinstance(error, AgentFlowError)
    assert error.code == "internal"
    assert secret_text not in error.message
    incident = error.message.rsplit(" ", 1)[1]
    assert [r.incident for r in caplog.records] == [incident]  # type: ignore[attr-defined]


def test_problems_come_in_the_order_of_their_lines_and_those_of_subworkflows_last() -> None:
    lines = {("dag", "nodes"): 4, ("dag", "nodes", 1): 7, ("dag", "nodes", 1, "config", "workflow"): 9}
    problems = [
        Problem("child@1: dag.nodes[0].config", "c"),
        Problem("line 12, dag.nodes[3].config.prompt_ref", "p"),
        Problem("dag.nodes[1].config.workflow", "w", "register it"),
        Problem("dag.nodes[1].config.inputs.x", "x"),
    ]
    found = [str(problem) for problem in unknown_names.by_lines(problems, lines)]
    assert found == [
        "line 7, dag.nodes[1].config.inputs.x: x",
        "line 9, dag.nodes[1].config.workflow: w (register it)",
        "line 12, dag.nodes[3].config.prompt_ref: p",
        "child@1: dag.nodes[0].config: c",
    ]
    assert unknown_names.by_lines(problems[2:3], None) == tuple(problems[2:3])


def test_missing_names_suggest() -> None:
    (problem,) = unknown_names.missing_names(
        {"file.raed": "dag.nodes[0].config.tool_name"}, {"file.read", "s3.put"}, "tool"
    )
    assert problem == Problem("dag.nodes[0].config.tool_name", "unknown tool 'file.raed'", "did you mean 'file.read'?")
    prompts = unknown_names.missing_prompts({"sum@9": "p"}, ["sum@9", "zzz"], ["sum"])
    assert "no version or label '9'" in prompts[0].fix
    assert "agentctl prompt create zzz" in prompts[1].fix


def _usage(cost: int) -> ev.LlmUsage:
    return ev.LlmUsage(provider="p", model="m", prompt="x@1", input_tokens=1, output_tokens=1, cost_nano=cost)


def test_progress_counts_retries_once_and_money_always() -> None:
    at: dict[str, Any] = {"org": "o", "run": "r", "ts": 1}
    progress = Progress()
    error = ev.StepError("boom", "it broke")
    shown = []
    for event in (
        ev.RunStarted(**at, workflow="w", version=1, steps=2),
        ev.StepScheduled(**at, step="a", attempt=1, lane="default", kind="llm", config={}),
        ev.StepFailed(**at, step="a", attempt=1, error=error, llm=_usage(5)),
        ev.TimerSet(**at, timer="retry:a:1", kind="retry", fire_at=2, step="a", attempt=1),
        ev.StepScheduled(**at, step="a", attempt=2, lane="default", kind="llm", config={}),
        ev.StepCompleted(**at, step="a", attempt=1, llm=_usage(3)),  # late: attempt 1 was given up
        ev.StepCompleted(**at, step="a", attempt=2, llm=_usage(7)),
        ev.StepExpanded(**at, step="b", width=2),
        ev.StepSkipped(**at, step="b[0]", reason="condition"),
        ev.RunCompleted(**at, cost_nano=15),
    ):
        progress.add(event)
        shown.append((progress.steps_done, progress.steps_total, progress.cost_nano))
    assert shown == [
        (0, 2, 0), (0, 2, 0), (1, 2, 5), (0, 2, 5), (0, 2, 5), (0, 2, 8), (1, 2, 15), (1, 4, 15), (2, 4, 15),
        (2, 4, 15),
    ]  # fmt: skip
    assert (progress.status, progress.ended) == ("completed", True)


def test_steps_that_were_reported_together_count_one_by_one() -> None:
    whole, singly = Progress(), Progress()
    for _, event in reported_together.events("o", "r"):
        whole.add(event)
        for one in ev.single(event):
            singly.add(one)
        assert (whole.steps_done, whole.steps_total, whole.status) == (
            singly.steps_done,
            singly.steps_total,
            singly.status,
        )
    assert (whole.steps_done, whole.steps_total) == (4, 4)


def test_a_batch_becomes_one_row_a_run() -> None:
    started = ev.RunStarted(org="o", run="r", ts=20, workflow="w", version=3, steps=1, submitted_at=10, tags={"a": "b"})
    ended = ev.RunFailed(org="o", run="r", ts=30, error=ev.StepError("x", "y"), cost_nano=7)
    (row,) = rows_of([(5, started), (9, ended)])
    assert (row.workflow, row.version, row.submitted_at, row.started_at) == ("w", 3, 10, 20)
    assert (row.status, row.finished_at, row.cost_nano, row.seq, row.tags) == ("failed", 30, 7, 9, {"a": "b"})
    (swapped,) = rows_of([(9, ended), (5, started)])
    assert swapped == row


def test_a_key_that_a_client_has_just_made_says_so() -> None:
    made = 0x0198_0000_0000
    key = "auto-01980000-0000-7abc-8123-0123456789ab"
    assert submission.is_fresh(key, made)
    assert submission.is_fresh(key, made + 60_000)
    assert submission.is_fresh(key, made - 60_000)  # the clocks differ
    assert not submission.is_fresh(key, made + 60_001)
    assert not submission.is_fresh(key, made - 60_001)
    for other in (
        "",
        "auto-01980000-0000-4abc-8123-0123456789ab",
        "auto-01980000-0000-7abc-c123-0123456789ab",
        "auto-01980000-0000-7abc-8123-0123456789abc",
        "01980000-0000-7abc-8123-0123456789ab",
    ):
        assert not submission.is_fresh(other, made), other
