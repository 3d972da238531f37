"""The SDK's pure parts: when to retry, how a watch resumes, money, addresses, JSON both ways."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import time
import uuid
from decimal import Decimal
from types import MappingProxyType, SimpleNamespace
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentflow.v1 import workflow_pb2
from agentflow_sdk import Changes, InvalidArgumentError, ResourceExhaustedError, RetryPolicy, UnavailableError, Workflow
from agentflow_sdk import calls as all_calls
from agentflow_sdk.calls import budgets, calendars, controls, lanes, prompts
from agentflow_sdk.calls import workflows as calls
from agentflow_sdk.convert.json_values import from_json, from_struct, to_struct
from agentflow_sdk.errors import CancelledError, DeadlineExceededError, InternalError, from_rpc_error
from agentflow_sdk.models import money
from agentflow_sdk.models.workflows import RunEvent
from agentflow_sdk.transport.call import built
from agentflow_sdk.transport.channel import metadata, parse_endpoint
from agentflow_sdk.transport.watching import WatchState

POLICY = RetryPolicy(attempts_max=3, initial_s=0.1, delay_s_max=1.0)


def test_backoff_grows_is_jittered_and_bounded() -> None:
    error = UnavailableError("away")
    assert POLICY.delay(error, 1, 60, 0.0) == pytest.approx(0.05)
    assert POLICY.delay(error, 1, 60, 0.999) == pytest.approx(0.1, rel=0.01)
    assert POLICY.delay(error, 2, 60, 0.0) == pytest.approx(0.1)
    assert POLICY.delay(error, 3, 60, 0.0) is None  # attempts are counted
    assert POLICY.delay(error, 1, 0.01, 0.5) is None  # no time left
    assert RetryPolicy().backoff(50, 0.99) <= RetryPolicy().delay_s_max


def test_only_what_may_help_is_repeated() -> None:
    spent = ResourceExhaustedError("the budget is spent")
    busy = ResourceExhaustedError("busy", retry_after_s=0.5)
    assert POLICY.delay(spent, 1, 60, 0) is None
    assert POLICY.delay(busy, 1, 60, 0) == pytest.approx(0.5)
    assert POLICY.delay(InvalidArgumentError("no"), 1, 60, 0) is None
    assert POLICY.delay(DeadlineExceededError("late"), 1, 60, 0) is None
    # a call that takes effect twice is repeated only when the server says that it had accepted nothing
    assert POLICY.delay(UnavailableError("away"), 1, 60, 0, repeatable=False) is None
    assert POLICY.delay(CancelledError("a server that was stopping"), 1, 60, 0) == pytest.approx(0.05)
    assert POLICY.delay(CancelledError("it may have had effect"), 1, 60, 0, repeatable=False) is None
    assert POLICY.delay(UnavailableError("away", retry_after_s=0.2), 1, 60, 0, repeatable=False) == pytest.approx(0.2)


def event(sequence: int, status: int = workflow_pb2.RUN_STATUS_RUNNING) -> workflow_pb2.WatchRunResponse:
    return workflow_pb2.WatchRunResponse(
        event=workflow_pb2.RunEvent(sequence=sequence, type="step.completed", status=status)  # type: ignore[arg-type]
    )


def token(offset: int, text: str) -> workflow_pb2.WatchRunResponse:
    return workflow_pb2.WatchRunResponse(token=workflow_pb2.TokenChunk(step="a", attempt=1, offset=offset, text=text))


def watch(**options: float) -> WatchState:
    return WatchState(
        workflow_pb2.WatchRunRequest(run_id="run_1", include_tokens=True),
        now_s=0.0,
        timeout_s=options.get("timeout_s"),
        patience_s=options.get("patience_s", 10.0),
    )


def test_a_watch_resumes_after_what_it_saw_and_drops_repeats() -> None:
    state = watch()
    assert state.accept(event(5), 1.0)
    assert state.accept(token(0, "abc"), 1.0)
    assert 0 < state.pause_s(UnavailableError("cut"), 1.0, 0.5) < 1
    assert state.request().after_sequence == 5
    assert state.accept(event(5), 1.2) == []
    assert state.accept(token(0, "abc"), 1.2) == []
    assert state.accept(token(3, "d"), 1.2)
    assert not state.finished
    assert state.accept(event(9, workflow_pb2.RUN_STATUS_FAILED), 1.3)
    assert state.finished


def test_a_watch_tells_the_parts_of_a_sequence_apart() -> None:
    def part(sequence: int, number: int) -> workflow_pb2.WatchRunResponse:
        return workflow_pb2.WatchRunResponse(event=workflow_pb2.RunEvent(sequence=sequence, part=number))

    def seen() -> tuple[int, int]:
        return state.request().after_sequence, state.request().after_part

    state = watch()
    assert [len(state.accept(part(5, number), 1.0)) for number in (0, 1, 1, 0)] == [1, 1, 0, 0]
    assert seen() == (5, 1)
    assert [len(state.accept(part(5, number), 1.0)) for number in (1, 2)] == [0, 1]
    assert len(state.accept(part(6, 0), 1.0)) == 1
    assert seen() == (6, 0)
    assert state.accept(part(5, 3), 1.0) == []


def test_a_watch_of_a_chain_goes_on_with_the_run_that_continues_it() -> None:
    request = workflow_pb2.WatchRunRequest(run_id="run_1", compact=True, follow_chain=True)
    state = WatchState(request, now_s=0.0, timeout_s=None, patience_s=10.0)

    def ended(sequence: int, body: bytes) -> workflow_pb2.WatchRunResponse:
        done = workflow_pb2.RUN_STATUS_COMPLETED
        event = workflow_pb2.RunEvent(sequence=sequence, type="run.completed", status=done, body_json=body)
        return workflow_pb2.WatchRunResponse(events=[event])

    state.accept(token(3, "d"), 1.0)
    assert len(state.accept(ended(5, b'{"continued_as": "run_2"}'), 1.0)) == 1
    assert (state.finished, state.request().run_id, state.request().after_sequence) == (False, "run_2", 5)
    assert len(state.accept(token(0, "a"), 1.0)) == 1, "a step of the next run"
    assert len(state.accept(ended(9, b"{}"), 1.0)) == 1
    assert state.finished


def test_a_compact_answer_has_several_events_with_bodies_as_json() -> None:
    body = b'{"b": 1, "a": [2.0, 1.5, 9007199254740993, null, true, "x"]}'
    events = [
        workflow_pb2.RunEvent(sequence=5, type="step.completed", body_json=body),
        workflow_pb2.RunEvent(sequence=6, status=workflow_pb2.RUN_STATUS_FAILED),
        workflow_pb2.RunEvent(sequence=7),
    ]
    events[1].body_json = events[2].body_json = b"{}"
    state = watch()
    found = state.accept(workflow_pb2.WatchRunResponse(events=events), 1.0)
    assert [item.sequence for item in found if isinstance(item, RunEvent)] == [5, 6], "nothing comes after the end"
    assert isinstance(found[0], RunEvent)
    assert found[0].body == {"a": [2, 1.5, "9007199254740993", None, True, "x"], "b": 1}
    assert state.finished
    assert state.accept(workflow_pb2.WatchRunResponse(events=events[:2]), 1.1) == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_body_as_json_is_what_it_is_as_a_struct(body: dict[str, Any]) -> None:
    assert from_json(json.dumps(body).encode()) == from_struct(to_struct(body, "body"))


def test_a_watch_gives_up_in_the_end_and_at_once_when_refused() -> None:
    state = watch(patience_s=5)
    state.pause_s(CancelledError("shutting down"), 4.0, 0.5)
    with pytest.raises(UnavailableError):
        state.pause_s(UnavailableError("still away"), 6.0, 0.5)
    with pytest.raises(InternalError):
        watch().pause_s(InternalError("a bug", kind="internal"), 0.1, 0.5)
    limited = watch(timeout_s=2.0)
    assert limited.remaining_s(1.5) == pytest.approx(0.5)
    with pytest.raises(DeadlineExceededError, match="still under way after 2 s"):
        limited.remaining_s(2.0)


def test_money_is_exact() -> None:
    assert money.to_nano("1000") == 1_000_000_000_000
    assert money.to_nano("0.000000001") == 1
    assert money.usd(1_200_000) == Decimal("0.0012")
    for bad in ("0.0000000001", "NaN"):
        with pytest.raises(ValueError, match=r"not an amount|nine decimals|US dollars"):
            money.to_nano(bad)
    with pytest.raises(InvalidArgumentError, match="limit: 'lots' is not an amount"):
        budgets.create_budget("lots")


@pytest.mark.parametrize(
    ("text", "target", "secure"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051", False),
        ("http://localhost:80/", "localhost:80", False),
        ("https://api.example.com", "api.example.com:443", True),
        ("https://[::1]:8443", "[::1]:8443", True),
    ],
)
def test_addresses(text: str, target: str, secure: bool) -> None:
    endpoint = parse_endpoint(text)
    assert (endpoint.target, endpoint.secure) == (target, secure)


@pytest.mark.parametrize("text", ["", "localhost", "ftp://a:1", "a:99999", "http://a:1/path", "a:b"])
def test_wrong_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|65535"):
        parse_endpoint(text)


def test_a_token_with_a_line_break_never_reaches_the_wire() -> None:
    with pytest.raises(ValueError, match="copy it again"):
        metadata("abc\ndef", "")


def test_a_submission_without_a_key_gets_its_own() -> None:
    began_ms = time.time_ns() // 1_000_000
    first, second = calls.submit("w"), calls.submit("w")
    assert first.request.idempotency_key != second.request.idempotency_key
    key = uuid.UUID(first.request.idempotency_key.removeprefix("auto-"))
    assert (key.version, key.variant) == (7, uuid.RFC_4122)
    assert began_ms <= key.int >> 80 <= time.time_ns() // 1_000_000, "the key says when it was made"
    assert calls.submit("w", idempotency_key="k").request.idempotency_key == "k"
    assert calls.submit("name@2").request.workflow == "name@2"
    assert calls.submit("name: x\n").request.definition_text == "name: x\n"
    assert not calls.submit("w").request.HasField("budget_cents")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_json_survives_the_wire(value: dict[str, object]) -> None:
    assert from_struct(to_struct(value, "inputs")) == value


@pytest.mark.parametrize("bad", [2**53 + 1, float("nan"), b"x", {1: 2}, object()])
def test_what_json_cannot_hold_is_refused_with_its_place(bad: object) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        to_struct({"a": [bad]}, "inputs")
    assert caught.value.problems[0].place == "inputs.a[0]"


@pytest.mark.parametrize("inputs", [[1], [], "text", 7, {1, 2}])
def test_inputs_that_are_no_object_are_an_invalid_argument(inputs: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="is not an object") as caught:
        calls.submit("w", inputs)
    assert (caught.value.problems[0].place, "dict" in caught.value.problems[0].fix) == ("inputs", True)
    with pytest.raises(InvalidArgumentError, match=r"step_inputs\.a: .* is not an object"):
        controls.fork("run_1", "a", changes=Changes(step_inputs={"a": inputs}))


def test_a_lone_text_is_one_of_a_list() -> None:
    assert calls.submit("w", break_at="judge").request.break_at == ["judge"]
    assert controls.set_breakpoints("run_1", "judge").request.at == ["judge"]
    assert prompts.create_prompt("p", "Hi", labels="live").request.labels == ["live"]
    assert calendars.set_calendar("off", "12-25").request.dates == ["12-25"]
    assert calls.submit("w", break_at=(name for name in ("a", "b"))).request.break_at == ["a", "b"]


def test_every_list_of_texts_of_a_call_takes_a_lone_text() -> None:
    """A text is a list of its letters for Python, so each such argument has to say what it does with one."""
    names = [info.name for info in pkgutil.iter_modules(all_calls.__path__, "agentflow_sdk.calls.")]
    places: list[Any] = [Workflow, *map(importlib.import_module, names)]
    wrong = [
        f"{place.__name__}.{name}({argument.name})"
        for place in places
        for name, call in inspect.getmembers(place, inspect.isfunction)
        if place is Workflow or call.__module__ == place.__name__
        for argument in inspect.signature(call).parameters.values()
        if re.search(r"(Iterable|Sequence|Collection|list|tuple)\[str", str(argument.annotation))
        and not str(argument.annotation).startswith("str | ")
    ]
    assert wrong == []


def test_a_number_that_no_field_can_hold_is_an_invalid_argument() -> None:
    with pytest.raises(InvalidArgumentError, match=r"limit: 99,999,999,999 is out of range"):
        built(lanes.set_lane, "gpu", limit=99_999_999_999)
    assert built(lanes.set_lane, "gpu", limit=3).request.limit == 3
    with pytest.raises(InvalidArgumentError, match="set_lane: an argument does not fit"):
        built(lanes.set_lane, "gpu", limit="many")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword"):
        built(lanes.set_lane, "gpu", most=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ({"budget_cents": 1.5}, "whole number"),
        ({"priority": 2**40}, "whole number"),
        ({"tags": {"team": 7}}, "dict of texts"),
        ({"idempotency_key": 5}, "a text"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(given: dict[str, Any], fix: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        calls.submit("w", {}, **given)
    assert (caught.value.problems[0].place, fix in caught.value.problems[0].fix) == (next(iter(given)), True)
    assert calls.submit("w", {}, tags=MappingProxyType({"team": "a"})).request.tags == {"team": "a"}


@pytest.mark.parametrize(
    ("code", "words", "kind", "told"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", DeadlineExceededError, "a longer `timeout`"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Stream removed (Deadline Exceeded)", DeadlineExceededError, "h:1 did not"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "prompt.list did not answer in 9 s", DeadlineExceededError, "prompt.list"),
        (grpc.StatusCode.UNKNOWN, "Stream removed", UnavailableError, "can't reach AgentFlow at h:1"),
    ],
)
def test_cluster_09_what_grpc_says_itself_is_told_with_what_to_do(
    code: grpc.StatusCode, words: str, kind: type[Exception], told: str
) -> None:
    error = SimpleNamespace(code=lambda: code, details=lambda: words, trailing_metadata=lambda: ())
    made = from_rpc_error(error, "h:1")
    assert type(made) is kind
    assert told in made.message
    assert "Stream removed (Deadline" not in made.message
