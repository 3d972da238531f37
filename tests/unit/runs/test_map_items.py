"""The items of a map: of an object, of lists side by side, of a range, in batches, and under a condition."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload
from agentflow_common.runs import fork as forking
from agentflow_common.runs.state import RunStatus, StepStatus, child_key
from tests.support.definitions import CONTINUE, ONCE, function, in_order, workflow
from tests.support.run_driver import RunDriver

BODY = {"type": "function", "config": {"function_name": "f", "inputs": {"x": "{{item}}", "at": "{{index}}"}}}
MANY = {"a": {"type": "any"}, "b": {"type": "any"}}


def each(**config: Any) -> dict[str, Any]:
    return {"id": "each", "type": "map", "config": {"body": BODY, **config}, "policy": ONCE}


def begun(inputs: Any = None, **config: Any) -> RunDriver:
    return RunDriver(workflow(each(**config))).submit(inputs).check_log()


def given(run: RunDriver) -> list[Any]:
    """The items that the children were offered, in order."""
    return [run.inputs(key)["x"] for key in run.offered]


def error(run: RunDriver) -> str:
    assert run.status is RunStatus.FAILED
    assert run.error.type == "undecidable"
    return run.error.message


@pytest.mark.parametrize(
    ("config", "inputs", "items"),
    [
        ({"range": {"stop": 3}}, {}, [0, 1, 2]),
        ({"range": {"start": 5, "stop": 0, "step": -2}}, {}, [5, 3, 1]),
        ({"range": {"start": 2, "stop": 2}}, {}, []),
        ({"range": {"start": "{{a}}", "stop": "{{a + 2}}", "step": "{{b}}"}}, {"a": 7, "b": 1.0}, [7, 8]),
        ({"zip": {"p": "{{a}}", "q": [1, 2]}}, {"a": ["x", "y"]}, [{"p": "x", "q": 1}, {"p": "y", "q": 2}]),
        ({"zip": {"p": "{{a}}", "q": "{{b}}"}}, {"a": [], "b": []}, []),
        ({"over": {"b": 1, "a": 2}}, {}, [{"key": "a", "value": 2}, {"key": "b", "value": 1}]),
        ({"over": "{{a}}"}, {"a": {"k": [1]}}, [{"key": "k", "value": [1]}]),
        ({"over": [1, 2, 3, 4, 5], "batches": 2}, {}, [[1, 2], [3, 4], [5]]),
        ({"over": [], "batches": 2}, {}, []),
        ({"range": {"stop": 5}, "batches": 4}, {}, [[0, 1, 2, 3], [4]]),
        ({"over": {"a": 1}, "batches": 2}, {}, [[{"key": "a", "value": 1}]]),
    ],
)
def test_the_items(config: dict[str, Any], inputs: dict[str, Any], items: list[Any]) -> None:
    run = begun(inputs, **config)
    assert given(run) == items
    assert [event.width for event in run.of(ev.StepExpanded)] == [len(items)]
    run.plays("done")
    assert run.output == {"each": ["done"] * len(items)}


@pytest.mark.parametrize(
    ("config", "inputs", "message"),
    [
        ({"zip": {"p": "{{a}}", "q": [1, 2]}}, {"a": [1]},
         "zip: the lists have different lengths: 'p' has 1 and 'q' has 2"),
        ({"zip": {"p": "{{a}}"}}, {"a": "text"}, "zip: 'p' must be a list, it is a text"),
        ({"range": {"stop": "{{a}}"}}, {"a": "3"}, "range.stop: must be a whole number, it is a text"),
        ({"range": {"stop": "{{a}}"}}, {"a": 1.5}, "range.stop: must be a whole number, it is a number"),
        ({"range": {"stop": 3, "step": "{{a}}"}}, {"a": 0}, "range: `step` is 0, so the range would not end"),
        ({"range": {"stop": "{{a}}"}}, {"a": 10_001}, "range: from 0 to 10001 by 1 is more than 10,000 numbers"),
        ({"range": {"stop": "{{a}}"}}, {"a": 10**30}, f"range: from 0 to {10**30} by 1 is more than 10,000 numbers"),
        ({"over": "{{a}}"}, {"a": 1}, "`over` must be a list or an object, it is a number"),
        ({"over": "{{a}}", "result": "object"}, {"a": [1]}, "`result: object` needs an object in `over`, it is a list"),
    ],
)  # fmt: skip
def test_what_gives_no_items_fails_the_step_and_says_where(
    config: dict[str, Any], inputs: dict[str, Any], message: str
) -> None:
    assert error(begun(inputs, **config)) == f"each: {message}"


def test_the_results_of_an_object_make_an_object() -> None:
    last = function("last", {"all": "each.output", "one": "each.output.b"})
    run = RunDriver(in_order(each(over={"b": 1, "a": 2}, result="object"), last)).submit()
    run.completes("each[1]", "B").completes("each[0]", "A").check_log()
    assert run.inputs("last") == {"all": {"a": "A", "b": "B"}, "one": "B"}
    assert run.crash().decide().completes("last").status is RunStatus.COMPLETED


def test_an_object_without_keys_gives_one_without_keys() -> None:
    run = begun({"a": {}}, over="{{a}}", result="object")
    assert run.output == {"each": {}}


def test_a_result_that_is_stored_out_of_line_stands_in_the_object() -> None:
    asks = function("last", {"text": "{{each.output.a}}", "b": "{{each.output.b}}"})
    run = RunDriver(in_order(each(over={"a": 1, "b": 2}, result="object"), asks)).submit()
    run.completes("each[0]", run.store("large")).completes("each[1]", "small")
    assert run.inputs("last") == {"text": "large", "b": "small"}


# --- the condition of the items ---


def test_items_for_which_the_condition_is_false_are_skipped_and_keep_their_place() -> None:
    run = begun(over=[4, 0, 7, 0], item_condition="item > 0 && index < 3")
    assert run.offered == ["each[0]", "each[2]"]
    run.completes("each[2]", "seven").completes("each[0]", "four").check_log()
    assert run.output == {"each": ["four", None, "seven", None]}
    assert run.statuses == {
        "each": "completed", "each[0]": "completed", "each[1]": "skipped", "each[2]": "completed", "each[3]": "skipped",
    }  # fmt: skip
    assert run.state.steps["each[1]"].reason == "the condition of the items is false: item > 0 && index < 3"


def test_a_map_of_skipped_items_alone_completes() -> None:
    assert begun(over=[1, 2], item_condition="false").output == {"each": [None, None]}


def test_a_skipped_item_takes_no_place_under_the_bound_and_does_not_count_as_failed() -> None:
    run = begun(range={"stop": 7}, item_condition="item % 3 == 0", concurrency=2, on_item_failure="continue",
                max_failures=1)  # fmt: skip
    assert run.offered == ["each[0]", "each[3]"]
    assert [key for key, status in run.statuses.items() if status == "skipped"] == ["each[1]", "each[2]"]
    run.fails("each[0]")
    assert run.offered == ["each[0]", "each[3]", "each[6]"]
    run.completes("each[3]", 3).completes("each[6]", 6)
    assert run.output == {"each": [None, None, None, 3, None, None, 6]}


def test_the_condition_may_read_steps_and_waits_for_them() -> None:
    run = RunDriver(
        workflow(function("least"), each(over=[1, 2, 3], item_condition="item >= least.output.n && item != inputs.not"))
    ).submit({"not": 3})
    assert run.offered == ["least"]
    assert run.completes("least", {"n": 2}).offered == ["least", "each[1]"]


def test_the_condition_sees_an_item_that_is_stored_out_of_line() -> None:
    first = function("first")
    run = RunDriver(in_order(first, each(over="first.output", item_condition="item.n > 1"))).submit()
    run.completes("first", run.store([{"n": 1}, {"n": 2}]))
    assert run.offered == ["first", "each[1]"]


@pytest.mark.parametrize(("tolerant", "status"), [(False, RunStatus.FAILED), (True, RunStatus.COMPLETED)])
def test_a_condition_that_can_not_be_computed_fails_its_item(tolerant: bool, status: RunStatus) -> None:
    config = {"on_item_failure": "continue"} if tolerant else {}
    run = begun(over=[1, 0, 2], item_condition="4 / item > 1", **config)
    assert run.state.steps["each[1]"].status is StepStatus.FAILED
    if tolerant:
        run.plays("x")
    assert run.status is status
    text = run.state.steps["each[1]"].error
    assert text is not None
    assert text.message.startswith("each[1]: item_condition: ")


def test_after_any_crash_the_same_items_are_skipped() -> None:
    whole = begun(range={"stop": 6}, item_condition="item % 2 == 1", concurrency=1)
    for keep in range(len(whole.made) + 1):
        run = begun(range={"stop": 6}, item_condition="item % 2 == 1", concurrency=1).crash(keep).decide()
        assert run.statuses == whole.statuses
        assert run.check_log().plays("x").output == {"each": [None, "x", None, "x", None, "x"]}


def test_a_mapped_condition_in_a_run_that_goes_on_without_the_step() -> None:
    node = each(over="{{a}}", item_condition="item > 1") | {"policy": CONTINUE}
    assert RunDriver(workflow(node)).submit({"a": 5}).output == {"each": None}


def test_a_pause_and_a_cancel_leave_skipped_items_as_they_are() -> None:
    run = begun(over=[0, 1, 0, 1], item_condition="item == 1", concurrency=1)
    run.tell(ev.RunPauseRequested).completes("each[1]", "x")
    assert run.offered == ["each[1]"]
    run.tell(ev.RunResumeRequested)
    assert run.offered == ["each[1]", "each[3]"]
    run.cancels()
    assert run.status is RunStatus.CANCELLED
    assert run.check_log().statuses[child_key("each", 2)] == "skipped"


# --- fork and retry ---


def begun_from(seed: forking.Seed, made: RunDriver) -> RunDriver:
    steps = Payload(value=forking.encoded_steps(seed))
    return RunDriver(made.definition).submit(seed=steps, position=seed.position)


def test_a_retry_keeps_what_was_skipped_and_begins_the_failed_item_again() -> None:
    failed = begun(over={"a": 1, "b": 0, "c": 3}, item_condition="item.value > 0", result="object")
    failed.completes("each[0]", "A").fails("each[2]")
    assert failed.status is RunStatus.FAILED
    seed = forking.retry(failed.state, failed.definition, forking.Changes())
    assert {key: str(step.status) for key, step in seed.steps.items()} == {
        "each": "running", "each[0]": "completed", "each[1]": "skipped", "each[2]": "retrying",
    }  # fmt: skip
    again = begun_from(seed, failed)
    assert again.offered == ["each[2]"]
    again.completes("each[2]", "C").check_log()
    assert again.output == {"each": {"a": "A", "b": None, "c": "C"}}


@pytest.mark.parametrize(
    ("at", "offered"), [("each[1]", []), ("each[2]", ["each[2]"]), ("each", ["each[0]", "each[2]"])]
)
def test_a_fork_at_an_item_asks_its_condition_again(at: str, offered: list[str]) -> None:
    whole = begun(over=[1, 0, 3], item_condition="item > 0").plays("x")
    before = RunDriver(whole.definition).start(whole.submission()).state
    seed = forking.fork(whole.state, before, whole.definition, at)
    again = begun_from(seed, whole)
    assert again.offered == offered
    assert again.check_log().plays("x").output == {"each": ["x", None, "x"]}


# --- what a definition may say ---


@pytest.mark.parametrize(
    ("config", "place", "message"),
    [
        ({}, "dag.nodes[0].config", "a map takes its items from one of `over`, `zip` and `range`: none is given"),
        ({"over": [1], "range": {"stop": 1}}, "dag.nodes[0].config",
         "a map takes its items from one of `over`, `zip` and `range`: `over` and `range`, not both"),
        ({"over": 5}, "dag.nodes[0].config.over", "`over` must be a list, or refer to one"),
        ({"over": "pages"}, "dag.nodes[0].config.over", "`over` must be a list, or refer to one"),
        ({"zip": {"p": "pages"}}, "dag.nodes[0].config.zip.p", "`p` must be a list, or refer to one"),
        ({"zip": {"p": [1], "q": [1, 2], "r": "{{a}}"}}, "dag.nodes[0].config.zip",
         "the lists have different lengths: 'p' has 1 and 'q' has 2"),
        ({"zip": {"p": "none.output"}}, "dag.nodes[0].config.zip.p",
         "'none.output' refers to 'none', and there is no such node"),
        ({"range": {"stop": "ten"}}, "dag.nodes[0].config.range.stop", "'ten' is a text"),
        ({"range": {"stop": 1, "step": 0}}, "dag.nodes[0].config.range.step", "a range does not get on by 0"),
        ({"range": {"stop": 10_001}}, "dag.nodes[0].config.range",
         "the range has 10,001 numbers, the limit is 10,000"),
        ({"over": [1], "item_condition": "itm > 1"}, "dag.nodes[0].config.item_condition",
         "the condition uses 'itm', which is neither an input nor a node"),
        ({"range": {"stop": 3}, "result": "object"}, "dag.nodes[0].config.result",
         "`result: object` needs an object in `over`, and does not go with `range`"),
        ({"over": {}, "batches": 2, "result": "object"}, "dag.nodes[0].config.result",
         "`result: object` needs an object in `over`, and does not go with `batches`"),
        ({"over": [1], "batches": 0}, "dag.nodes[0].config.batches", "must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(config: dict[str, Any], place: str, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_dict({**workflow(each(**config)), "inputs": MANY})
    found = [(problem.place, problem.message) for problem in caught.value.problems]
    assert (place, message) in found, found


# --- inputs of a body that are named as a field of the map ---


@pytest.mark.parametrize("field", ["over", "zip", "range"])
def test_an_input_of_the_body_may_have_the_name_of_the_field_that_gives_the_items(field: str) -> None:
    items = {"over": [7], "zip": {"a": [7]}, "range": {"start": 7, "stop": 8}}[field]
    body = {"type": "function", "config": {"function_name": "f", "inputs": {field: "{{first.output}}"}}}
    node = {"id": "each", "type": "map", "config": {field: items, "body": body}, "policy": ONCE}
    run = RunDriver(workflow(function("first"), node)).submit()
    assert run.offered == ["first"], "the map waits for what its body reads"
    run.completes("first", 5)
    assert (run.offered, run.inputs("each[0]")) == (["first", "each[0]"], {field: 5})
    run.check_log()
