"""Chains of steps that one worker runs by itself (ADR 0009), with scheduler and worker on a real log."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.lanes.controls import control_key
from agentflow_common.log.event_log import Entry
from agentflow_common.runs.state import RunState, RunStatus, StepStatus
from agentflow_common.runtime.service import running
from agentflow_scheduler.app import app as scheduler_app
from agentflow_security.app import app as security_app
from agentflow_security.settings import SecuritySettings
from agentflow_worker.app import app as worker_app
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tasks import task_chain
from tests.support.attempts import begun_by, singly
from tests.support.engine import CHAIN_STEPS, EngineUnderTest, loaded, scheduler_settings, scheduling
from tests.support.servers import NatsServer
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration


def step(name: str, call: str, inputs: str = "", more: str = "", kind: str = "function") -> str:
    return f"    - {{id: {name}, type: {kind}, config: {{{kind}_name: {call}, inputs: {{{inputs}}}}}{more}}}\n"


def chain_of(*listed: str) -> str:
    names = [text.split("id: ")[1].split(",")[0] for text in listed]
    edges = ", ".join(f"{{from: {a}, to: {b}}}" for a, b in itertools.pairwise(names))
    return f"name: w\ndag:\n  nodes:\n{''.join(listed)}  edges: [{edges}]\n"


def three(call: str = "r.pass") -> str:
    return chain_of(step("a", "r.pass", "x: 1"), step("b", call, "x: a.output"), step("c", "r.pass", "x: b.output"))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker goes on however long it takes, so that a test may hold it in the middle."""
    monkeypatch.setattr(task_chain, "CHAIN_S_MAX", 60.0)


@pytest.fixture
async def engine(nats_url: str) -> AsyncIterator[Any]:
    async with (
        scheduling(nats_url),
        running("worker", WorkerSettings(nats_url=nats_url, load=(str(CHAIN_STEPS),)), worker_app) as worker,
    ):
        yield EngineUnderTest(worker.nc, worker.log)


class Held:
    """A run whose worker waits in one step of the chain."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.gate = asyncio.Event()

    async def submit(self, text: str, name: str) -> Held:
        """name: the step whose first call waits."""
        loaded(CHAIN_STEPS).HOLDS[name] = self.gate
        self.key = await self.engine.submit(text)
        await until(lambda: (self.key.name, name) in loaded(CHAIN_STEPS).HELD)
        async with asyncio.timeout(PATIENCE_S):
            while name not in {step for event in await self.log() for step, _ in begun_by(event)}:
                await asyncio.sleep(0.01)
        return self

    async def tell(self, kind: type[Any], **fields: Any) -> None:
        event = kind(org=self.key.org, run=self.key.name, ts=1, **fields)
        await self.engine.log.append(Entry(subjects.run_in(self.key), ev.encode(event)))

    async def log(self) -> list[ev.Event]:
        return [event for _, event in await self.engine.events(self.key)]

    async def report(self, name: str) -> ev.StepCompleted:
        """The step's report, once it is there."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for event in singly(await self.log()):
                    if isinstance(event, ev.StepCompleted) and event.step == name:
                        return event
                await asyncio.sleep(0.01)

    def calls(self) -> dict[str, int]:
        return {step: count for (run, step), count in loaded(CHAIN_STEPS).CALLS.items() if run == self.key.name}


def tasks(log: list[ev.Event]) -> list[str]:
    return [event.step for event in log if isinstance(event, ev.StepScheduled)]


def begun(log: list[ev.Event]) -> list[str]:
    return [step for event in log if isinstance(event, ev.StepCompleted) for step, _ in begun_by(event)]


# --- what a step is given ---


async def test_a_value_that_is_stored_out_of_line_is_passed_on(engine: Any) -> None:
    """And what a step does with it, or with a part of it, is its own."""
    text = chain_of(
        step("a", "r.zeros", "size: 100000"),
        step("b", "r.spoil", "x: a.output.many"),
        step("c", "r.spoil", "x: a.output.few"),
        step("d", "r.length", "x: a.output.many"),
        step("e", "r.pass", "x: a.output.few"),
    )
    key = await engine.submit(text)
    state = await engine.finished(key)
    assert state.status is RunStatus.COMPLETED, state.error
    log = [event for _, event in await engine.events(key)]
    assert (tasks(log), begun(log)) == (["a"], ["b", "c", "d", "e"])
    assert state.steps["a"].output.ref is not None
    assert state.steps["d"].output.value == 100_000
    assert state.steps["e"].output.value == [[1, 2], [3]]


CONTINUE = ", policy: {on_failure: continue, retry: {max_attempts: 2, initial_ms: 10}}"
CHAINS = {
    "a field that is missing": [step("a", "r.zeros", "size: 2"), step("b", "r.pass", "x: a.output.none", CONTINUE)],
    "a field of nothing": [step("a", "r.odd", "what: nothing"), step("b", "r.pass", "x: a.output.n", CONTINUE)],
    "nothing": [step("a", "r.odd", "what: nothing"), step("b", "r.pass", "x: a.output")],
    "an index out of range": [step("a", "r.zeros", "size: 2"), step("b", "r.pass", "x: 'a.output.many[2]'")],
    "a field missing in a blob": [step("a", "r.zeros", "size: 99999"), step("b", "r.pass", "x: a.output.n", CONTINUE)],
    "an index in a blob": [step("a", "r.zeros", "size: 99999"), step("b", "r.pass", "x: 'a.output.few[0][1]'")],
    "a tuple": [step("a", "r.odd", "what: tuple"), step("b", "r.pass", "x: 'a.output[1][0]'")],
    "keys that are numbers": [step("a", "r.odd", "what: keys"), step("b", "r.pass", "x: a.output.1")],
    "what is no number": [step("a", "r.odd", "what: nan"), step("b", "r.pass", "x: a.output.n")],
    "a text that is none": [step("a", "r.odd", "what: surrogate", CONTINUE), step("b", "r.pass", "x: a.output")],
    "a reserved key": [step("a", "r.odd", "what: reserved", CONTINUE), step("b", "r.pass", "x: a.output")],
    "no JSON": [step("a", "r.odd", "what: object", CONTINUE), step("b", "r.pass", "x: a.output")],
    "a failure in the middle": [step("a", "r.pass", "x: 1"), step("b", "r.broken", more=CONTINUE)],
    "one that ends the run": [step("a", "r.pass", "x: 1"), step("b", "r.broken"), step("d", "r.pass")],
    "a retry in the middle": [step("a", "r.pass", "x: 1"), step("b", "r.flaky", "x: a.output", CONTINUE)],
    "an argument that does not fit": [step("a", "r.pass", "x: 1"), step("b", "r.length", "y: a.output", CONTINUE)],
    "a function that is not there": [step("a", "r.pass", "x: 1"), step("b", "r.nobody", "x: a.output", CONTINUE)],
    "a function that fails on it": [step("a", "r.pass", "x: 1"), step("b", "r.length", "x: a.output", CONTINUE)],
    "a tool that must be claimed": [step("a", "r.pass", "x: 1"), step("b", "r.pay", "x: a.output", kind="tool")],
    "a value of the step's own": [step("a", "r.pass", "x: 1"), step("b", "r.pass", "x: [{k: [1, null]}]")],
}


def outcome(state: RunState) -> dict[str, Any]:
    steps = {key: (step.status, step.attempt, step.kind, step.output, step.error) for key, step in state.steps.items()}
    return {"status": state.status, "error": state.error, "output": state.output, "steps": steps}


async def test_every_run_ends_as_it_does_without_chains(nats_url: str) -> None:
    found: list[dict[str, dict[str, Any]]] = []
    async with running("worker", WorkerSettings(nats_url=nats_url, load=(str(CHAIN_STEPS),)), worker_app) as worker:
        engine = EngineUnderTest(worker.nc, worker.log)
        for bound in (32, 0):
            settings = scheduler_settings(nats_url, SCHEDULER_ROW_STEPS=bound)
            async with running("scheduler", settings, scheduler_app):
                keys = {
                    what: await engine.submit(
                        chain_of(step("z", "r.pass"), *listed, step("c", "r.pass", "x: b.output"))
                    )
                    for what, listed in CHAINS.items()
                }
                found.append({what: outcome(await engine.finished(key)) for what, key in keys.items()})
                logs = [[event for _, event in await engine.events(key)] for key in keys.values()]
                assert all(begun(log) for log in logs) if bound else not any(begun(log) for log in logs)
    with_chains, without = found
    for what in CHAINS:
        assert with_chains[what] == without[what], what
    ends = {what: found["status"] for what, found in without.items()}
    assert ends["one that ends the run"] is RunStatus.FAILED
    assert ends["a field that is missing"] is RunStatus.COMPLETED


async def test_tokens_are_passed_on_and_revealed_to_whom_it_is_due(
    engine: Any, nats_url: str, db_env: dict[str, str], tmp_path: Path
) -> None:
    values: dict[str, Any] = {name.lower(): value for name, value in db_env.items()}
    settings = SecuritySettings(nats_url=nats_url, AGENTFLOW_VAULT_KEY_FILE=tmp_path / "vault.key", **values)
    text = chain_of(
        step("a", "r.mail", "name: jane"),
        step("b", "r.pass", "x: a.output"),
        step("c", "r.reveal", "x: b.output", kind="tool"),
    )
    async with running("security", settings, security_app):
        key = await engine.submit(text)
        state = await engine.finished(key)
    assert state.status is RunStatus.COMPLETED, state.error
    log = [event for _, event in await engine.events(key)]
    assert begun(log) == ["b", "c"]
    address = "jane.doe" + "@example.com"
    assert address.encode() not in b"".join(map(ev.encode, log))
    assert loaded(CHAIN_STEPS).GIVEN[key.name, "b"] == state.steps["a"].output.value
    assert loaded(CHAIN_STEPS).GIVEN[key.name, "c"] == address
    assert state.steps["c"].output.value == len(address)


# --- what ends a chain ---


async def test_no_step_begins_after_a_pause_was_decided(engine: Any) -> None:
    run = await Held(engine).submit(three(), "b")
    await run.tell(ev.RunPauseRequested, reason="lunch")
    await engine.until(run.key, ev.RunPaused)
    run.gate.set()
    assert (await run.report("b")).begun is None
    await run.tell(ev.SignalReceived, name="s")  # the scheduler looks again, and does nothing
    log = await run.log()
    assert (tasks(log), begun(log), run.calls()) == (["a"], ["b"], {"a": 1, "b": 1})
    await run.tell(ev.RunResumeRequested)
    state = await engine.finished(run.key)
    assert state.status is RunStatus.COMPLETED
    assert (tasks(await run.log()), run.calls()) == (["a", "c"], {"a": 1, "b": 1, "c": 1})


async def test_no_step_with_a_breakpoint_is_passed_over(engine: Any) -> None:
    run = await Held(engine).submit(three(), "b")
    await run.tell(ev.RunBreakRequested, at=("c",))
    await engine.until(run.key, ev.RunBreakpointsSet)
    run.gate.set()
    assert (await run.report("b")).begun is None
    assert (await engine.until(run.key, ev.RunStopped)).steps == ("c",)
    assert run.calls() == {"a": 1, "b": 1}
    await run.tell(ev.RunContinueRequested, stop=1)
    state = await engine.finished(run.key)
    assert (state.status, tasks(await run.log())) == (RunStatus.COMPLETED, ["a", "c"])


@pytest.mark.parametrize("grace_ms", [0, 300_000])
async def test_a_cancel_stops_the_step_that_a_worker_is_at(engine: Any, grace_ms: int) -> None:
    run = await Held(engine).submit(three(), "b")
    await run.tell(ev.RunCancelRequested, reason="enough", grace_ms=grace_ms)
    state = await engine.finished(run.key)  # and not when the grace is over
    assert state.status is RunStatus.CANCELLED
    await until(lambda: (run.key.name, "b") in loaded(CHAIN_STEPS).STOPPED)
    assert state.steps["a"].status is StepStatus.COMPLETED
    assert "c" not in state.steps or state.steps["c"].status is StepStatus.SKIPPED
    assert run.calls() == {"a": 1, "b": 1}


async def test_a_word_about_a_step_that_is_done_stops_the_one_after_it(engine: Any) -> None:
    """The scheduler closed it without knowing that it was done."""
    run = await Held(engine).submit(three(), "c")
    hint = {"run": run.key.name, "step": "b", "attempt": 1, "mode": "forced"}
    await engine.nc.publish(subjects.control(run.key.name), msgspec.json.encode(hint))
    await until(lambda: (run.key.name, "c") in loaded(CHAIN_STEPS).STOPPED)


async def paused_lane(engine: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            info = await engine.nc.jsm().consumer_info(subjects.EVENTS_STREAM, subjects.pool_durable("default"))
            if info.paused:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("control", ["workflow", "lane", "lanes"])
async def test_what_operators_pause_goes_no_further(heard: Any, engine: Any, control: str) -> None:
    key = {"workflow": "workflow.test.w", "lane": control_key("default"), "lanes": control_key("def*")}[control]
    bucket = await engine.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
    run = await Held(engine).submit(three(), "b")
    await bucket.put(key, msgspec.json.encode({"paused": True}))
    await heard(key)
    if control != "workflow":
        await paused_lane(engine)
    run.gate.set()
    assert (await run.report("b")).begun is None
    if control == "workflow":
        assert tasks(await run.log()) == ["a"]
    else:  # offered, and not given out
        async with asyncio.timeout(PATIENCE_S):
            while tasks(await run.log()) != ["a", "c"]:
                await asyncio.sleep(0.02)
    assert run.calls() == {"a": 1, "b": 1}
    await bucket.delete(key)
    state = await engine.finished(run.key)
    assert state.status is RunStatus.COMPLETED
    assert (tasks(await run.log()), run.calls()) == (["a", "c"], {"a": 1, "b": 1, "c": 1})


async def test_a_tool_that_must_not_happen_twice_is_claimed(engine: Any) -> None:
    text = chain_of(
        step("a", "r.pass", "x: 1"),
        step("p", "r.pay", "x: a.output", kind="tool"),
        step("b", "r.pass", "x: p.output"),
        step("q", "r.pay", "x: b.output", kind="tool"),
    )
    key = await engine.submit(text)
    state = await engine.finished(key)
    assert state.status is RunStatus.COMPLETED
    log = [event for _, event in await engine.events(key)]
    assert tasks(log) == ["a", "p", "b", "q"], "what must be claimed is offered, and what follows it"
    assert begun(log) == []
    assert [event.step for event in log if isinstance(event, ev.ClaimTaken)] == ["p", "q"]


async def test_many_chains_under_fsync_some_of_which_are_paused(tmp_path: Path) -> None:
    """Reports share batches: those whose run has gone on must not hurt the others."""
    count = 60
    text = chain_of(*(step(f"s{n}", "r.count", f"x: s{n - 1}.output" if n else "x: 0") for n in range(8)))
    with NatsServer(tmp_path / "n", durability="fsync") as server:
        settings = WorkerSettings(nats_url=server.url, load=(str(CHAIN_STEPS),), concurrency=40, durability="fsync")
        async with (
            scheduling(server.url, durability="fsync"),
            running("worker", settings, worker_app) as worker,
        ):
            engine = EngineUnderTest(worker.nc, worker.log)
            keys = [await engine.submit(text) for _ in range(count)]
            for key in keys[::3]:
                for kind in (ev.RunPauseRequested, ev.RunResumeRequested):
                    event = kind(org=key.org, run=key.name, ts=1)
                    await engine.log.append(Entry(subjects.run_in(key), ev.encode(event)))
            for key in keys:
                state = await engine.finished(key)
                assert state.status is RunStatus.COMPLETED, state.error
                log = singly(event for _, event in await engine.events(key))
                reports = [e.step for e in log if isinstance(e, ev.StepCompleted)]
                assert sorted(reports) == [f"s{n}" for n in range(8)]
                paused = any(isinstance(e, ev.RunPaused) for e in log)  # it may drop quick steps that were not reported
                calls = {s: count for (run, s), count in loaded(CHAIN_STEPS).CALLS.items() if run == key.name}
                assert paused or set(calls.values()) == {1}
