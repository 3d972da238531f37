"""Arguments that an author left out: they come along the edge, or from the run's inputs."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.definition.edge_arguments import Needs, called, completed, without_items
from agentflow_common.definition.model import Definition
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError

NEEDS = {
    ("function", "split"): Needs(("text",)),
    ("function", "merge"): Needs((), "results"),
    ("function", "count"): Needs(("text", "words")),
    ("llm", "analyzer@2"): Needs(("chunk",)),
    ("llm", "judge"): Needs(("chunk", "question")),
    ("function", "look"): Needs(("text",), aliases={"body": "text"}),
}


def node(name: str, function: str, **config: Any) -> dict[str, Any]:
    return {"id": name, "type": "function", "config": {"function_name": function, **config}}


def flow(*nodes: dict[str, Any], edges: tuple[str, ...] = (), **more: Any) -> Definition:
    pairs = [dict(zip(("from", "to"), edge.split(">"), strict=True)) for edge in edges]
    return parse_dict({"name": "flow", **more, "dag": {"nodes": list(nodes), "edges": pairs}})


def inputs(definition: Definition, step: str) -> dict[str, Any]:
    (found,) = (n.config.inputs for n in completed(definition, NEEDS).dag.nodes if n.id == step)  # type: ignore[union-attr]
    return found


def test_the_first_step_takes_the_run_s_input_of_the_name() -> None:
    assert inputs(flow(node("a", "split")), "a") == {"text": "{{inputs.text}}"}
    assert inputs(flow(node("a", "split"), inputs={"text": {"type": "string"}}), "a") == {"text": "{{inputs.text}}"}
    assert inputs(flow(node("a", "split"), inputs={"other": {"type": "string"}}), "a") == {}


def test_a_step_after_another_takes_the_run_s_input_or_the_field_of_the_output() -> None:
    two = (node("a", "split", inputs={"text": "x"}), node("b", "split"))
    field = "{{inputs.text if 'text' in inputs else a.output.text}}"
    assert inputs(flow(*two, edges=("a>b",)), "b") == {"text": field}
    assert inputs(flow(*two, edges=("a>b",), inputs={"text": {}}), "b") == {"text": "{{inputs.text}}"}
    assert inputs(flow(*two, edges=("a>b",), inputs={"other": {}}), "b") == {"text": "a.output.text"}


def test_a_step_after_several_takes_the_run_s_inputs_only() -> None:
    three = (*(node(name, "split", inputs={"text": "x"}) for name in "ab"), node("c", "count"))
    found = flow(*three, edges=("a>c", "b>c"))
    assert inputs(found, "c") == {"text": "{{inputs.text}}", "words": "{{inputs.words}}"}


def test_arguments_that_are_given_stay_and_a_node_with_inputs_is_left_alone() -> None:
    given = node("a", "count", function_args={"text": "mine"})
    assert inputs(flow(given), "a") == {"words": "{{inputs.words}}"}
    assert inputs(flow(node("a", "count", inputs={"text": "mine"})), "a") == {"text": "mine"}


def test_an_argument_that_is_given_under_its_other_name_is_not_missing() -> None:
    assert inputs(flow(node("a", "look", function_args={"body": "mine"})), "a") == {}


def test_the_merge_of_branches_gets_the_outputs_of_the_steps_before() -> None:
    nodes = (node("a", "split", inputs={"text": "x"}), node("b-2", "split", inputs={"text": "x"}), node("m", "merge"))
    found = flow(*nodes, edges=("a>m", "b-2>m"))
    assert inputs(found, "m") == {"results": {"a": "a.output", "b-2": "b-2.output"}}
    own = flow(*nodes[:2], node("m", "merge", function_args={"x": 1}), edges=("a>m", "b-2>m"))
    assert inputs(own, "m") == {}


def parallel(ref: str) -> Definition:
    llm = {"id": "p", "type": "llm", "config": {"prompt_ref": ref, "parallel": True}}
    return flow(node("a", "split", inputs={"text": "x"}), llm, edges=("a>p",))


def test_a_parallel_step_takes_the_output_of_the_step_before_as_its_items() -> None:
    found = completed(parallel("analyzer@2"), NEEDS)
    assert inputs(found, "p") == {"chunk": "a.output"}
    assert list(without_items(found)) == []


def test_a_parallel_step_whose_item_is_not_known_is_named() -> None:
    found = completed(parallel("judge"), NEEDS)
    assert list(without_items(found)) == [
        (("dag", "nodes", 1, "config", "parallel"), "no input is known that gets an item of the list",
         "name it: `inputs: {item: before.output}`")
    ]  # fmt: skip


def test_a_parallel_step_needs_one_step_before() -> None:
    with pytest.raises(InvalidError) as caught:
        flow(node("p", "split", parallel=True))
    assert caught.value.problems[0].fix == "add it to `inputs`, or let one edge lead to the node"


def test_nothing_changes_where_nothing_is_missing_or_known() -> None:
    whole = flow(node("a", "split", inputs={"text": "x"}), node("b", "own"))
    assert completed(whole, NEEDS) is whole
    assert called(whole) == {("function", "own")}
    graph = parse_dict({"name": "g", "entry_point": "a", "nodes": [{"name": "a", "function": "split"}]})
    assert called(graph) == set()
    assert completed(graph, NEEDS) is graph


def test_a_completed_definition_is_valid_and_completes_to_itself() -> None:
    found = completed(parallel("analyzer@2"), NEEDS)
    again = parse_dict(found.canonical())
    assert again == found
    assert completed(again, NEEDS) is again
