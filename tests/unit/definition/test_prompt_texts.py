"""Prompts whose text stands in the definition, and models that a node names."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.definition.dependencies import waits_for
from agentflow_common.definition.edge_arguments import called
from agentflow_common.definition.model import Definition, load_trusted
from agentflow_common.definition.nodes.calls import prompt_of
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from tests.support.definitions import function, workflow


def asks(**config: Any) -> dict[str, Any]:
    return {"id": "ask", "type": "llm", "config": config}


def parsed(*nodes: dict[str, Any], **top: Any) -> Definition:
    return parse_dict(workflow(*nodes, **top))


def problems(*nodes: dict[str, Any], **top: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidError) as caught:
        parsed(*nodes, **top)
    return [(found.place, found.message, found.fix) for found in caught.value.problems]


def test_a_text_and_a_model_are_enough() -> None:
    found = parsed(asks(prompt="Say hello to {{name}}", model="local/extractive-1"))
    assert prompt_of(found.dag.nodes[0]) == ("Say hello to {{name}}", frozenset())
    assert called(found) == set(), "no tool, function or prompt has to be looked up"
    (node,) = found.canonical()["dag"]["nodes"]
    assert node["config"] == {"prompt": "Say hello to {{name}}", "model": "local/extractive-1"}
    assert load_trusted(found.canonical()) == found


@pytest.mark.parametrize(
    ("config", "place", "message"),
    [
        ({}, "config", "there is no prompt: add `prompt_ref:` with a registered one, or `prompt:` with its text"),
        ({"prompt": "Hello you", "prompt_ref": "p"}, "config", "`prompt` and `prompt_ref` are both given: keep one"),
        (
            {"prompt": "summarizer@1"},
            "config.prompt",
            "'summarizer@1' is a name and not a text: write `prompt_ref: summarizer@1` for a registered prompt",
        ),
        (
            {"prompt": "About {{prompt}}", "inputs": {"prompt": "x"}},
            "config",
            "an input is called 'prompt', as the text itself: rename it",
        ),
    ],
)
def test_a_node_asks_with_one_prompt(config: dict[str, Any], place: str, message: str) -> None:
    assert problems(asks(**config)) == [(f"dag.nodes[0].{place}", message, "")]


def test_a_model_has_its_provider_and_is_named_once() -> None:
    assert problems(asks(prompt="Say hello", model="claude-sonnet-4-5")) == [
        (
            "dag.nodes[0].config.model",
            "'claude-sonnet-4-5' is not valid here",
            "write PROVIDER/MODEL, such as local/extractive-1 or anthropic/claude-sonnet-4-5",
        )
    ]
    node = {**asks(prompt="Say hello", model="a/b"), "policy": {"model": "a/c"}}
    assert problems(node) == [
        ("dag.nodes[0].config.model", "`policy.model` names a model, too", "keep one of them"),
    ]
    body = {"type": "llm", "config": {"prompt": "Say {{item}}", "model": "a/b"}}
    each = {"id": "each", "type": "map", "config": {"over": [1], "body": body}, "policy": {"model": "a/c"}}
    assert [place for place, _, _ in problems(each)] == ["dag.nodes[0].config.body.config.model"]


def test_names_in_a_prompt_are_checked_as_in_every_template() -> None:
    place = "dag.nodes[0].config.prompt"
    declared = {"name": {"type": "string"}}
    assert problems(asks(prompt="Hello {{nam}}"), inputs=declared) == [
        (place, "the template uses 'nam', which is neither an input nor a node", "did you mean 'name'?")
    ]
    assert problems(asks(prompt="Hello {% for x in name %}you{% endfor %}"), inputs=declared) == [
        (place, "`for` is not allowed here: only {{ expressions }} are", "templates hold {{ expressions }} only")
    ]
    assert problems(asks(prompt="Hello {{inputs.nam}}"), inputs=declared)[0][:2] == (
        place,
        "inputs has no field 'nam'",
    )
    parsed(asks(prompt="Hello {{whom}}, {{name}}", inputs={"whom": "{{name}}"}), inputs=declared)
    body = {"type": "llm", "config": {"prompt": "{{index}}: {{item}}"}}
    parsed({"id": "each", "type": "map", "config": {"over": [1], "body": body}}, inputs=declared)


def test_a_node_waits_for_the_steps_that_its_prompt_reads_but_not_for_its_own_inputs() -> None:
    nodes = (
        function("read"),
        function("other"),
        asks(prompt="Sum up {{read.output.text}} for {{other}}", inputs={"other": "{{tags.team}}"}),
    )
    assert waits_for(parsed(*nodes)) == {"read": [], "other": [], "ask": ["read"]}


def test_the_short_form_of_a_graph_takes_a_text_too() -> None:
    graph = {
        "name": "w",
        "entry_point": "ask",
        "nodes": [
            {"name": "ask", "prompt": "{{state.text}} in a word", "model": "local/extractive-1", "writes": "answer"},
            {"name": "again", "prompt": "summarizer"},
        ],
        "edges": [{"from": "ask", "to": "again"}],
    }
    first, second = (node.config for node in parse_dict(graph).dag.nodes)
    assert (first.prompt, first.model, first.state_args) == ("{{state.text}} in a word", "local/extractive-1", False)  # type: ignore[union-attr]
    assert (second.prompt_ref, second.state_args) == ("summarizer", True)  # type: ignore[union-attr]
    graph["state"] = {"schema": {"properties": {"answer": {}}, "additionalProperties": False}}
    with pytest.raises(InvalidError, match="'text' is not a key of the state"):
        parse_dict(graph)
