"""Model calls of a whole stack whose providers misbehave: what the run says, what it costs, and what stays reserved."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from agentflow_sdk import Client, Run
from tests.support.stack import RunningStack, running_stack
from tests.support.waiting import PATIENCE_S, until_now

from .provider_wire import NAMES, Wire, answer_of, environment, error_of, serving, sse

pytestmark = pytest.mark.integration


@dataclass
class World:
    stack: RunningStack
    client: Client
    wires: dict[str, Wire]

    def run(self, policy: str, *, wait: bool = True, more: str = "") -> Run:
        text = f"""
name: asking
dag:
  nodes:
    - id: ask
      type: llm
      config: {{prompt_ref: summarizer, inputs: {{content: "The harbour was busy all day."}}}}
      policy: {{{policy}}}
{more}
"""
        run = self.client.workflows.submit(text)
        return self.client.workflows.wait(run, timeout=180) if wait else self.client.workflows.get(run)

    def money(self) -> tuple[int, int]:
        """(spent, reserved) of the whole org."""
        (budget,) = self.client.budgets.list()
        return budget.spent_nano_usd, budget.reserved_nano_usd

    def all_answer(self, status: int = 200, wait: str = "", **more: Any) -> None:
        for name, wire in self.wires.items():
            wire.status, wire.hold, wire.replies = status, False, []
            wire.headers = {"retry-after": wait} if wait else {}
            wire.chunks = error_of(name, "come back later") if status != 200 else answer_of(name, **more)
            wire.asked.clear()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("stack") / "data"
    with (
        serving(*NAMES) as wires,
        running_stack(folder, env=environment(wires)) as stack,
        Client(stack.grpc, stack.dev_key) as client,
    ):
        client.budgets.create(limit_usd=1000, name="all", period="total")
        yield World(stack, client, wires)


def settled(world: World, spent: int) -> None:
    """Until all that was reserved is given back, and exactly this is spent."""
    until_now(lambda: world.money()[1] == 0)
    assert world.money() == (spent, 0)


def test_llm_01_answers_that_can_t_be_read_are_paid_and_the_next_provider_answers(world: World) -> None:
    before = world.money()[0]
    world.all_answer(pieces=["Boats came in."], tokens=(100, 10))
    chunks = answer_of("anthropic", ["Boats"], (100, 10))
    odd = {"type": "content_block_delta", "index": 0, "delta": "no object"}
    world.wires["anthropic"].chunks = [*chunks[:3], *sse(odd, names=True), *chunks[3:]]
    nulls = {"choices": [{"index": 0, "delta": None, "finish_reason": None}], "usage": None}
    world.wires["openai"].chunks = [*sse(nulls), *answer_of("openai", ["Boats came in."], (100, 10))]
    run = world.run("quality: Gold, retry: {max_attempts: 1}")
    assert run.status == "completed", run.error
    (step,) = run.steps
    assert (step.output["text"], step.output["provider"], step.finish_reason) == ("Boats came in.", "openai", "stop")
    (done,) = [e for e in world.client.traces.get(run, bodies=True).events if e.type == "step.completed"]
    first, second = done.body["llm"]["attempts"]
    assert (first["provider"], first["error"], first["finish_reason"]) == ("anthropic", "malformed_answer", "error")
    assert first["cost_nano"] > 0
    assert (second["provider"], second["finish_reason"]) == ("openai", "stop")
    assert run.cost_nano_usd == first["cost_nano"] + second["cost_nano"]
    settled(world, before + run.cost_nano_usd)


def test_llm_01_what_a_step_reserved_is_given_back_when_it_times_out_while_its_run_goes_on(world: World) -> None:
    before = world.money()[0]
    world.all_answer(pieces=["Boats"], tokens=(100, 10))
    wire = world.wires["openai"]
    wire.chunks, wire.hold = [], True  # the call begins, and nothing comes
    gate = "    - {id: gate, type: signal, depends_on: [ask], config: {signal: go}}"
    policy = "model: openai/gpt-4o-mini, timeout_ms: 1500, retry: {max_attempts: 1}, on_failure: continue"
    run = world.run(policy, wait=False, more=gate)
    until_now(lambda: world.client.workflows.get(run).status == "waiting")
    settled(world, before)
    world.client.workflows.signal(run, "go")
    assert world.client.workflows.wait(run, timeout=180).status == "completed"


def test_llm_10_a_stream_without_a_reason_and_with_half_a_character_is_paid_once_and_whole(world: World) -> None:
    before = world.money()[0]
    world.all_answer(pieces=["Boats \ud83d", "\ude00 came\ud83d."], tokens=(100, 10), finish=None)
    run = world.run("model: openai/gpt-4o-mini")
    assert run.status == "completed", run.error
    (step,) = run.steps
    assert step.output["text"] == "Boats \U0001f600 came\ufffd."
    assert (step.output["finish_reason"], step.attempt, len(world.wires["openai"].asked)) == ("unknown", 1, 1)
    settled(world, before + run.cost_nano_usd)


def test_llm_12_when_every_provider_refuses_the_step_fails_with_what_each_of_them_said(world: World) -> None:
    before = world.money()[0]
    world.all_answer(429, wait="7")
    for quality in ("Gold", "Silver", "Bronze"):
        run = world.run(f"quality: {quality}, retry: {{max_attempts: 1}}")
        assert run.status == "failed"
        assert run.error is not None
        for name in NAMES:
            assert f"{name}/" in run.error.message
        assert run.error.message.count("come back later, asks to wait 7 s") == 4, run.error.message
        assert "local/" not in run.error.message
    assert run.cost_nano_usd == 0
    settled(world, before)


def test_llm_12_the_engine_waits_as_long_as_the_providers_ask(world: World) -> None:
    world.all_answer(429, wait="2")
    run = world.run("quality: Bronze, retry: {max_attempts: 2, initial_ms: 1, jitter: 0}")
    assert run.status == "failed"
    events = world.client.traces.get(run, bodies=True).events
    failed = next(e for e in events if e.type == "step.failed")
    timer = next(e for e in events if e.type == "timer.set" and e.body["kind"] == "retry")
    assert failed.body["error"]["retry_after_ms"] == 2000
    assert timer.body["fire_at"] - timer.ts >= 2000
    assert all(len(wire.asked) == 2 for wire in world.wires.values())


def test_llm_12_the_offline_provider_answers_where_the_definition_asks_for_it(world: World) -> None:
    before = world.money()[0]
    world.all_answer(503)
    run = world.run("model: local/extractive-1")
    assert run.status == "completed", run.error
    assert run.steps[0].output["provider"] == "local"
    settled(world, before + run.cost_nano_usd)


def test_a_prompt_in_the_definition_reaches_the_model_and_shows_in_the_trace(world: World) -> None:
    before = world.money()[0]
    world.all_answer(pieces=["Hello Ann"], tokens=(100, 10))
    node = '{id: hello, type: llm, config: {prompt: "Say hello to {{name}}", model: openai/gpt-4o}}'
    text = f"{{name: greeting, dag: {{nodes: [{node}]}}}}"
    run = world.client.workflows.wait(world.client.workflows.submit(text, inputs={"name": "Ann"}), timeout=180)
    assert run.status == "completed", run.error
    (step,) = run.steps
    assert (step.output["text"], step.provider, step.prompt) == ("Hello Ann", "openai", "inline")
    assert "Say hello to Ann" in str(world.wires["openai"].asked[-1])
    events = list(world.client.workflows.watch(run, timeout=PATIENCE_S))
    assert [e.body["inputs"] for e in events if e.type == "step.scheduled"] == [{"prompt": "Say hello to Ann"}]
    settled(world, before + run.cost_nano_usd)


def test_llm_13_an_answer_that_was_cut_off_is_no_success_unless_the_policy_says_so(world: World) -> None:
    before = world.money()[0]
    world.all_answer(pieces=["Boats came"], tokens=(100, 10), finish="length")
    failed = world.run("quality: Gold")
    assert failed.status == "failed"
    assert failed.error is not None
    assert (failed.error.type, failed.steps[0].finish_reason) == ("truncated", "length")
    assert sum(len(wire.asked) for wire in world.wires.values()) == 1  # no retry and no other provider
    (traced,) = world.client.traces.get(failed).steps
    assert traced.finish_reason == "length"
    accepted = world.run("quality: Gold, on_truncated: accept")
    assert accepted.status == "completed", accepted.error
    assert (accepted.steps[0].output["text"], accepted.steps[0].output["finish_reason"]) == ("Boats came", "length")
    world.wires["anthropic"].replies = [answer_of("anthropic", ["Boats came "], (100, 10), "length")]
    world.wires["anthropic"].chunks = answer_of("anthropic", ["in."], (120, 3))
    joined = world.run("model: anthropic/claude-opus-5-5, on_truncated: continue")
    assert joined.status == "completed", joined.error
    assert (joined.steps[0].output["text"], joined.steps[0].finish_reason) == ("Boats came in.", "stop")
    settled(world, before + sum(run.cost_nano_usd for run in (failed, accepted, joined)))
    assert "(length)" in cli(world, "trace", "get", accepted.run_id)
    table = cli(world, "trace", "get", accepted.run_id, "-o", "table")
    assert "FINISH" in table
    assert "length" in table


def cli(world: World, *arguments: str) -> str:
    env = {**os.environ, "AGENTFLOW_ENDPOINT": world.stack.grpc, "AGENTFLOW_TOKEN": world.stack.dev_key,
           "AGENTFLOW_CLI_CONFIG": os.devnull, "COLUMNS": "240"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "agentctl", *arguments], env=env, capture_output=True, text=True, timeout=300, check=True
    )
    return done.stdout
