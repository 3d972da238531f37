"""What a definition may be, and how each mistake is told: place, message, fix."""

from __future__ import annotations

import pytest

from agentflow_common.definition.dependencies import dependencies, order_dependencies
from agentflow_common.definition.parse import parse_dict, parse_text
from agentflow_common.errors import InvalidError

GOOD = """\
name: document_analysis
version: 2
inputs:
  document_key: {type: string}
  depth: {type: integer, default: 3}
dag:
  nodes:
    - id: ingest
      type: tool
      config: {tool_name: file.read, tool_args: {path: "{{document_key}}"}}
    - id: analyze
      type: llm
      config: {prompt_ref: document_analyzer@3, inputs: {content: ingest.output.text}}
      policy: {quality: Gold, sla_ms: 30000, retry: {max_attempts: 5, backoff: linear}}
  edges:
    - {from: ingest, to: analyze}
"""


def problems(text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidError) as caught:
        parse_text(text)
    assert caught.value.problems
    assert caught.value.code == "invalid_argument"
    return [(p.place, p.message, p.fix) for p in caught.value.problems]


def test_a_definition_survives_its_canonical_form() -> None:
    definition = parse_text(GOOD)
    assert parse_dict(definition.canonical()) == definition
    assert parse_dict(definition.canonical()).digest() == definition.digest()
    works = [work for _, work in definition.works()]
    assert [work.config.prompt_ref for work in works if work.type == "llm"] == ["document_analyzer@3"]
    assert [work.config.tool_name for work in works if work.type == "tool"] == ["file.read"]
    assert parse_text(GOOD.replace("version: 2", "version: 3")).digest() != definition.digest()


@pytest.mark.parametrize(
    ("old", "new", "place", "message", "fix"),
    [
        ("type: llm", "type: lm", "line 12, dag.nodes[1].type", "unknown node type 'lm'", "tool, function, llm"),
        ("type: llm", "type: tol", "line 12", "unknown node type 'tol'", "did you mean 'tool'? use one of tool,"),
        ("type: llm", "type: condition", "line 12", "unknown node type 'condition'", "stands on an edge: {from: a"),
        ("from: ingest", "from: ingst", "line 16, dag.edges[0].from", "no node 'ingst'", "did you mean 'ingest'"),
        ("version: 2", "version: two", "line 2, version", "write an integer, got 'two'", ""),
        ("prompt_ref", "promptref", "line 13, dag.nodes[1].config", "'promptref'", "did you mean 'prompt_ref'?"),
        ("{{document_key}}", "{{document}}", "line 10", "'document'", "did you mean 'document_key'"),
        ("{{document_key}}", "{{document_key", "line 10", "template", ""),
        ("ingest.output.text", "ingst.output.text", "line 13", "'ingst'", "did you mean 'ingest'"),
        ("quality: Gold", "quality: Platinum", "line 14, dag.nodes[1].policy.quality", "Gold", ""),
        ("max_attempts: 5", "max_attempts: 0", "line 14", "must be at least 1, got 0", ""),
        ("id: analyze", "id: ingest", "line 11, dag.nodes[1].id", "taken", "rename"),
        ("id: analyze", "id: 'two words'", "line 11, dag.nodes[1].id", "not valid", "write 1 to 64 letters"),
        ("id: analyze", "id: on", "line 11, dag.nodes[1].id", "write a text, got true", "quotes"),
        ("dag:", "dagg:", "line 6", "'dagg'", "did you mean 'dag'?"),
        ("name: document_analysis", "name: [1]", "line 1, name", "write a text, got a list", ""),
        ("- id: analyze", "- id: analyze\n      condition: a ==", "condition", "not a CEL expression", "write CEL"),
        ("- id: analyze", "- id: analyze\n      condition: nope.output == 1", "condition", "'nope'", "the steps are"),
        ("{from: ingest, to: analyze}", "{from: ingest}", "line 16", "'to' is missing", "add `to:`"),
        ("{from: ingest, to: analyze}", "{from: ingest, to: ingest}", "line 16", "points at itself", "remove"),
        ("version: 2", "version: 2\nversion: 3", "line 3", "appears twice", "remove one"),
        ("name: document_analysis", "name: : x", "line 1", "not YAML", ""),
        ("  nodes:", "\tnodes:", "line 7", "not YAML", "indentation"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_fix(old: str, new: str, place: str, message: str, fix: str) -> None:
    found = problems(GOOD.replace(old, new, 1))
    assert any(place in p and message in m and fix in f for p, m, f in found), found


@pytest.mark.parametrize(
    "text", ["", "[]", "just words", "{a: 1", "- &a [*a]", "\x00", "a: !!python/object:os.system x"]
)
def test_what_is_no_definition_is_refused(text: str) -> None:
    problems(text)


def test_a_cycle_is_named_in_full() -> None:
    found = problems(GOOD + "    - {from: analyze, to: ingest}\n")
    assert "ingest -> analyze -> ingest" in found[0][1]


def test_a_cycle_through_references_alone_is_found() -> None:
    text = """
name: w
dag:
  nodes:
    - {id: a, type: function, config: {function_name: f, inputs: {x: b.output}}}
    - {id: b, type: function, config: {function_name: f, inputs: {x: a.output}}}
"""
    assert "cycle" in problems(text)[0][1]


def test_hostile_text_ends_in_an_error() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    assert "aliases" in problems(bomb)[0][1]
    small = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    assert "more than 500,000 values" in problems(small)[0][1]
    assert "bytes" in problems("x" * (2 * 1024 * 1024 + 1))[0][1]
    deep = "name: w\ndag: " + "[" * 500 + "]" * 500
    assert problems(deep)


def test_references_without_an_edge_order_but_do_not_take() -> None:
    text = """
name: w
dag:
  nodes:
    - {id: a, type: function, config: {function_name: f}}
    - {id: b, type: function, config: {function_name: f}}
    - {id: c, type: function, condition: b.output > 1, config: {function_name: f, inputs: {x: "{{ a.output }}"}}}
  edges: [{from: a, to: c}]
"""
    definition = parse_text(text)
    assert dependencies(definition)["c"] == [("a", None)]
    assert order_dependencies(definition)["c"] == ["b"]


def test_inputs_are_checked_and_defaulted() -> None:
    definition = parse_text(GOOD)
    assert definition.check_inputs({"document_key": "x"}) == {"document_key": "x", "depth": 3}
    with pytest.raises(InvalidError) as caught:
        definition.check_inputs({"depth": "deep", "extra": 1})
    assert {p.place for p in caught.value.problems} == {"inputs.document_key", "inputs.depth", "inputs.extra"}


def test_approvers_that_only_the_run_knows_are_not_counted() -> None:
    text = "name: a\ndag: {{nodes: [{{id: a, type: approval, config: {{required: 2, approvers: [{}]}}}}]}}\n"
    parse_text(text.format('"{{people}}"'))
    with pytest.raises(InvalidError, match="more approvals are required"):
        parse_text(text.format("ann"))


def test_llm_13_what_follows_on_an_answer_that_was_cut_off_is_checked_with_the_definition() -> None:
    llm = "type: llm, config: {prompt_ref: summarizer}"
    text = "name: a\ndag: {{nodes: [{{id: a, {}, policy: {{on_truncated: {}}}}}]}}\n"
    for action in ("accept", "fail", "continue"):
        definition = parse_text(text.format(llm, action))
        assert definition.dag.nodes[0].policy.on_truncated == action
        assert parse_dict(definition.canonical()).digest() == definition.digest()
    body = "type: map, config: {over: [1], body: {type: llm, config: {prompt_ref: summarizer}}}"
    assert parse_text(text.format(body, "continue")).dag.nodes[0].policy.on_truncated == "continue"
    with pytest.raises(InvalidError, match=r"line 2, dag.nodes\[0\].policy.on_truncated: .*'accept', 'fail'"):
        parse_text(text.format(llm, "retry"))
    with pytest.raises(InvalidError, match=r"policy.on_truncated: 'a' calls no model"):
        parse_text(text.format("type: function, config: {function_name: f}", "accept"))


def test_delays_of_retries_are_durations_as_all_others() -> None:
    node = "{{id: a, type: tool, config: {{tool_name: t}}, policy: {{sla_ms: 2s, retry: {}}}}}"
    text = f"name: a\ndag: {{{{nodes: [{node}]}}}}\n"
    policy = parse_text(text.format("{initial_ms: 500ms, max_ms: 1m30s}")).dag.nodes[0].policy
    assert (policy.retry.initial_ms, policy.retry.max_ms, policy.sla_ms) == (500, 90_000, 2_000)
    with pytest.raises(InvalidError, match="'soon' is not a duration"):
        parse_text(text.format("{initial_ms: soon}"))
