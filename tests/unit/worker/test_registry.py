"""Registration, discovery, argument checks and one call."""

from __future__ import annotations

import asyncio
import datetime
import threading
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest

from agentflow_common.errors import (
    AgentFlowError,
    AlreadyExistsError,
    DeadlineError,
    InvalidError,
    NotFoundError,
    RetryableError,
    TerminalError,
)
from agentflow_worker.context import StepContext
from agentflow_worker.invoke import invoke
from agentflow_worker.machine import to_step_error
from agentflow_worker.registry import Registration, Registry, default_registry, function, tool
from agentflow_worker.settings import WorkerSettings


def context() -> StepContext:
    return StepContext("acme", "run_1", "step", 2, WorkerSettings())


def registered(call: Any) -> Registration:
    return Registry().add(call)


@tool("mail.send", reveal=("to",))
async def send(to: str, copies: int = 1, mode: Literal["fast", "slow"] = "fast", *, context: StepContext) -> list[Any]:
    """Sends."""
    return [to, copies, mode, context.idempotency_key]


async def test_arguments_are_typed_and_the_context_is_passed() -> None:
    item = registered(send)
    assert (item.idempotent, item.reveal, item.context_parameter) == (False, ("to",), "context")
    assert await invoke(item, {"to": "a", "copies": "3"}, context()) == ["a", 3, "fast", "run_1/step"]


@pytest.mark.parametrize(
    ("args", "place", "says"),
    [
        ({}, "to", "missing argument"),
        ({"to": "a", "cc": "b"}, "cc", "unknown argument"),
        ({"to": 1}, "to", "valid string"),
        ({"to": "a", "mode": "warp"}, "mode", "'fast' or 'slow'"),
        ({"to": "a", "context": {}}, "context", "unknown argument"),
    ],
)
async def test_wrong_arguments_are_named_with_the_known_ones(args: dict[str, Any], place: str, says: str) -> None:
    with pytest.raises(InvalidError) as caught:
        await invoke(registered(send), args, context())
    assert caught.value.problems[0].place == place
    assert says in str(caught.value)
    if "argument" in says:
        assert "to, copies?, mode?" in str(caught.value)


def test_a_description_holds_the_schema_with_its_defaults() -> None:
    registry = Registry()
    registry.add(send)
    (item,) = registry.describe()
    assert (item["kind"], item["name"], item["doc"]) == ("tool", "mail.send", "Sends.")
    assert item["schema"]["required"] == ["to"]
    assert item["schema"]["additionalProperties"] is False
    assert item["schema"]["properties"]["copies"] == {"default": 1, "title": "Copies", "type": "integer"}


async def test_a_synchronous_callable_runs_in_a_thread_and_may_report_progress() -> None:
    seen: list[tuple[float | None, str]] = []
    step = context()
    step.on_heartbeat = lambda *beat: seen.append(beat)

    @function("sums")
    def sums(values: list[int], context: StepContext) -> dict[str, Any]:
        context.heartbeat(0.5, "half")
        return {"sum": sum(values), "main": threading.current_thread() is threading.main_thread()}

    assert await invoke(registered(sums), {"values": [1, "2"]}, step) == {"sum": 3, "main": False}
    await asyncio.sleep(0)
    assert seen == [(0.5, "half")]


@pytest.mark.parametrize("progress", [-0.1, 1.5, float("nan"), "half"])
def test_a_progress_that_is_none_is_refused(progress: Any) -> None:
    with pytest.raises(InvalidError, match="progress is a number from 0 to 1, not"):
        context().heartbeat(progress)


async def test_a_synchronous_call_that_was_cancelled_while_it_waited_for_a_thread_does_not_begin() -> None:
    calls: list[int] = []

    @function("begins")
    def begins() -> None:
        calls.append(1)

    step = context()
    step.cancelled.set()
    with pytest.raises(TerminalError) as caught:
        await invoke(registered(begins), {}, step)
    assert (caught.value.kind, calls) == ("cancelled", [])


class Point(pydantic.BaseModel):
    x: int


async def test_results_become_json_or_are_refused() -> None:
    @function("gives")
    async def gives(what: str) -> Any:
        loop: list[Any] = []
        loop.append(loop)
        return {"model": Point(x=1), "date": datetime.date(2026, 3, 14), "object": object(), "cycle": loop}[what]

    item = registered(gives)
    assert await invoke(item, {"what": "model"}, context()) == {"x": 1}
    assert await invoke(item, {"what": "date"}, context()) == "2026-03-14"
    for what in ("object", "cycle"):
        with pytest.raises(TerminalError, match="returned what is not JSON"):
            await invoke(item, {"what": what}, context())


async def test_unforeseen_exceptions_are_retryable_and_carry_their_type() -> None:
    @function("breaks")
    async def breaks(slow: bool) -> None:
        raise TimeoutError("late") if slow else KeyError("k")

    with pytest.raises(RetryableError) as caught:
        await invoke(registered(breaks), {"slow": False}, context())
    assert caught.value.kind == "KeyError"
    with pytest.raises(DeadlineError):
        await invoke(registered(breaks), {"slow": True}, context())


class Declined(TerminalError):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "bases"),
    [
        (ConnectionResetError("x"), "ConnectionResetError", ("ConnectionError", "OSError", "Exception")),
        (TimeoutError("x"), "TimeoutError", ("OSError", "Exception")),
        (Declined("x"), "declined", ("Declined", "TerminalError", "AgentFlowError", "Exception")),
        (SystemExit(1), "SystemExit", ()),
    ],
)
async def test_an_error_in_the_log_names_its_base_classes(error: BaseException, kind: str, bases: tuple[str]) -> None:
    @function("breaks")
    async def breaks() -> None:
        raise error

    with pytest.raises(AgentFlowError) as caught:
        await invoke(registered(breaks), {}, context())
    found = to_step_error(caught.value)
    assert (found.type, found.bases) == (kind, bases)


def test_the_groups_of_an_error_come_before_its_base_classes() -> None:
    error = RetryableError("busy", kind="http_503")
    error.groups = ("http_5xx", "http_status")
    assert to_step_error(error).bases == ("http_5xx", "http_status", "RetryableError", "AgentFlowError", "Exception")


def test_a_missing_name_suggests_close_ones_and_the_other_kind() -> None:
    registry = default_registry()
    with pytest.raises(NotFoundError, match=r"did you mean file\.read"):
        registry.get("tool", "file.raed")
    with pytest.raises(NotFoundError, match="it is a function"):
        registry.get("tool", "text_splitter")


def test_two_callables_of_one_name_clash() -> None:
    @tool("mail.send")
    async def other() -> None: ...

    registry = Registry()
    registry.add(send)
    registry.add(send)
    with pytest.raises(AlreadyExistsError, match="rename one"):
        registry.add(other)


def test_a_file_is_loaded_by_path_and_a_broken_one_is_named(tmp_path: Path) -> None:
    good = tmp_path / "mine.py"
    lines = ["from agentflow_worker.registry import tool", "@tool('mine.twice')", "async def f(x: int) -> int:"]
    good.write_text("\n".join([*lines, "    return 2 * x"]))
    bad = tmp_path / "bad.py"
    bad.write_text("import no_such_module\n")
    registry = Registry()
    assert registry.load_module(str(good)) == 1
    assert ("tool", "mine.twice") in registry
    with pytest.raises(InvalidError, match=r"bad\.py.*no_such_module"):
        registry.load_module(str(bad))
    with pytest.raises(InvalidError, match=r"has no @tool or @function"):
        registry.load_module("json")


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORKER_CONCURRENCY", "7")
    monkeypatch.setenv("WORKER_LANES", "default, gpu")
    monkeypatch.setenv("AGENTFLOW_FILE_ROOTS", f"{tmp_path}:{tmp_path / 'b'}")
    settings = WorkerSettings()
    assert (settings.concurrency, settings.pools) == (7, ("default", "gpu"))
    assert settings.file_roots == (tmp_path, tmp_path / "b")


def test_a_file_of_settings_names_the_pools_as_the_environment_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "agentflow.yaml"
    config.write_text("lanes: default, gpu\n")
    monkeypatch.setenv("AGENTFLOW_CONFIG", str(config))
    assert WorkerSettings().pools == ("default", "gpu")


def test_load_on_the_command_line_adds_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from agentflow_worker.__main__ import parse

    monkeypatch.setenv("WORKER_LOAD", "one,two.py")
    assert parse(["--load", "three", "--load", "four.py"]).load == ("one", "two.py", "three", "four.py")
    with pytest.raises(SystemExit):
        parse(["--nope"])


class OutOfTheOrdinary(BaseException):
    """What `except Exception` does not catch."""


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, OutOfTheOrdinary])
async def test_what_would_end_a_process_or_never_arrive_is_a_failure_of_the_step(error: type[BaseException]) -> None:
    @function()
    def blocking() -> None:
        raise error("gone")

    @function()
    async def waiting() -> None:
        raise error("gone")

    for call in (blocking, waiting):
        with pytest.raises(RetryableError, match=r"gone|StopIteration") as caught:
            await asyncio.wait_for(invoke(registered(call), {}, context()), 5)
        assert caught.value.kind in (error.__name__, "RuntimeError")


async def test_an_error_without_a_text_is_still_told() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @function()
    def breaks() -> None:
        raise Mute

    with pytest.raises(RetryableError, match="raised Mute"):
        await invoke(registered(breaks), {}, context())


@pytest.mark.parametrize(("error", "told"), [(MemoryError, "raised MemoryError"), (TimeoutError, "timed out")])
async def test_an_error_that_says_nothing_ends_with_its_name(error: type[Exception], told: str) -> None:
    @function(name="f")
    async def breaks() -> None:
        raise error

    with pytest.raises(AgentFlowError) as caught:
        await invoke(registered(breaks), {}, context())
    assert caught.value.message == f"f {told}"


def test_an_argument_can_be_given_under_another_name_and_its_own_name_wins() -> None:
    @tool("put", aliases={"body": "content"})
    def put(content: str, key: str = "") -> None:
        """Stores it."""

    item = Registry().add(put)
    assert item.by_own_names({"body": "b", "key": "k"}) == {"content": "b", "key": "k"}
    assert item.by_own_names({"body": "b", "content": "c"}) == {"content": "c"}
    assert item.by_own_names({"key": "k"}) == {"key": "k"}
    with pytest.raises(InvalidError, match=r"\['other'\] are not arguments"):
        tool("put", aliases={"body": "other"})(put)
