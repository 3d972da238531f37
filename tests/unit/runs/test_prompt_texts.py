"""Prompts whose text stands in the definition: what the task of a model call has, and what is data in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import StepError
from agentflow_common.runs import fork as forking
from agentflow_common.runs.fork import Changes
from tests.support.definitions import ONCE, function, in_order, workflow
from tests.support.run_driver import RunDriver


def asks(prompt: str, policy: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    return {"id": "ask", "type": "llm", "config": {"prompt": prompt, **config}, "policy": policy or {}}


def test_the_task_has_the_text_with_its_values_and_the_model() -> None:
    run = RunDriver(workflow(asks("Say hello to {{name}}", model="a/b"))).submit({"name": "Ann"})
    (task,) = run.of(ev.StepScheduled)
    assert task.inputs == {"prompt": "Say hello to Ann"}
    assert (task.kind, task.prompt, task.config) == ("llm", "", {"model": "a/b"})
    run.completes("ask", {"text": "Hello"}).check_log()


def test_a_prompt_reads_steps_and_its_own_inputs_over_everything_else() -> None:
    node = asks("{{read.output.title}} for {{name}}: {{text}}", inputs={"text": "read.output.text", "name": "B"})
    run = RunDriver(in_order(function("read"), node)).submit({"name": "A"})
    run.completes("read", {"title": "T", "text": "long"})
    assert run.inputs("ask") == {"text": "long", "name": "B", "prompt": "T for B: long"}
    run.check_log()


def test_a_field_of_null_is_null_and_a_missing_one_fails_the_step() -> None:
    nothing = RunDriver(workflow(asks("About {{draft.title}}."))).submit({"draft": None})
    assert nothing.inputs("ask") == {"prompt": "About null."}
    wrong = RunDriver(workflow(asks("About {{draft.title}}.", policy=ONCE))).submit({"draft": {"name": "x"}})
    error = wrong.check_log().state.steps["ask"].error
    assert error is not None
    assert (error.type, error.message.startswith("ask: prompt: ")) == ("undecidable", True)
    assert "title" in error.message


@given(st.text(alphabet="{}%ab ", max_size=20))
def test_what_an_input_says_is_never_read_as_a_template(data: str) -> None:
    run = RunDriver(workflow(asks("Sum up: {{text}}"))).submit({"text": data})
    assert run.inputs("ask") == {"prompt": f"Sum up: {data}"}


def test_each_item_of_a_parallel_step_or_a_map_has_a_text_of_its_own() -> None:
    parallel = asks("Sum up {{page}}", inputs={"page": "{{pages}}"}, parallel=True)
    run = RunDriver(workflow(parallel)).submit({"pages": ["x", "y"]})
    assert [run.inputs(f"ask[{n}]") for n in range(2)] == [
        {"page": "x", "prompt": "Sum up x"},
        {"page": "y", "prompt": "Sum up y"},
    ]
    body = {"type": "llm", "config": {"prompt": "{{index}}: {{item}}"}}
    each = {"id": "each", "type": "map", "config": {"over": "{{pages}}", "body": body}}
    run = RunDriver(workflow(each)).submit({"pages": ["x", "y"]})
    assert [run.inputs(f"each[{n}]") for n in range(2)] == [{"prompt": "0: x"}, {"prompt": "1: y"}]


def test_a_step_in_a_lane_has_its_text_once_it_has_its_slot() -> None:
    node = {**asks("Say hello to {{name}}"), "lane": "{{name}}"}
    run = RunDriver(workflow(node)).submit({"name": "Ann"})
    assert run.offered == []
    run.tell(ev.SlotGranted, lane="o-Ann", step="ask", attempt=1)
    assert run.inputs("ask") == {"prompt": "Say hello to Ann"}


def test_a_value_that_is_stored_out_of_line_is_looked_into() -> None:
    run = RunDriver(in_order(function("read"), asks("Sum up {{read.output.text}}"))).submit({})
    whole = run.store({"text": "much"})
    run.tell(ev.StepCompleted, step="read", attempt=1, output=whole)
    assert run.inputs("ask") == {"prompt": "Sum up much"}
    alone = RunDriver(in_order(function("read"), asks("{{read.output}}"))).submit({})
    alone.tell(ev.StepCompleted, step="read", attempt=1, output=alone.store("much"))
    assert list(alone.inputs("ask")) == ["prompt"]
    alone.check_log()


def test_a_retry_has_the_same_text_again() -> None:
    run = RunDriver(workflow(asks("Hi {{name}}", policy={"retry": {"max_attempts": 2, "initial_ms": 0}})))
    run.submit({"name": "Ann"}).fails("ask", StepError("timeout", "slow", True))
    assert [task.inputs for task in run.of(ev.StepScheduled)] == [{"prompt": "Hi Ann"}] * 2


def test_a_fork_takes_a_registered_prompt_or_another_model_in_its_place() -> None:
    definition = parse_dict(workflow(asks("Hi {{name}}", model="a/b")))
    run = RunDriver(definition.canonical()).submit({"name": "Ann"}).fails("ask", StepError("auth", "no", False))
    changes = Changes(prompts={"ask": "p@2"}, models={"ask": "c/d"})
    made = forking.edited(definition, forking.retry(run.state, definition, changes), changes)
    (node,) = made.canonical()["dag"]["nodes"]
    assert (node["config"], node["policy"]) == ({"prompt_ref": "p@2"}, {"model": "c/d"})
    changes = Changes(inputs={"name": "Bo"})
    assert forking.fork(run.state, run.state, definition, "ask", changes).steps == {}


@pytest.mark.parametrize("prompt", ["{{value}}", "{{ value }}"])
def test_a_prompt_that_is_one_value_keeps_it(prompt: str) -> None:
    run = RunDriver(workflow(asks(prompt))).submit({"value": {"a": 1}})
    assert run.inputs("ask") == {"prompt": {"a": 1}}
