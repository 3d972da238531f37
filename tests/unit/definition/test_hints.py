"""What an author may have meant: typos, other engines' words, fields in the wrong place; all of it in one go."""

from __future__ import annotations

import pytest

from agentflow_common.definition.parse import InvalidDefinitionError, parse_dict, parse_text
from agentflow_common.errors import InvalidError
from agentflow_common.expressions import language as expressions
from agentflow_common.expressions.sandbox import ExpressionError

TEXT = """\
name: w
inputs:
  page: {type: string}
  limit: {type: number, default: 3}
outputs:
  text: write.output.text
dag:
  nodes:
    - {id: read, type: tool, config: {tool_name: file.read, tool_args: {path: "{{page}}"}}}
    - id: each
      type: map
      config: {over: "{{read.output.lines}}", concurrency: 3, body: {type: function, config: {function_name: f}}}
    - id: ask
      type: approval
      config: {message: "ok?"}
    - id: write
      type: llm
      config: {prompt_ref: summarizer, inputs: {content: read.output.text}}
      policy: {quality: Gold, timeout_ms: 30s, retry: {max_attempts: 3}}
  edges:
    - {from: read, to: write, condition: limit > 2}
    - {from: ask, to: write}
"""
GRAPH = """\
name: g
entry_point: a
state: {schema: {type: object}}
nodes:
  - {name: a, function: f, args: {x: 1}}
edges: [{from: a, to: END}]
"""


def refusal(data: object) -> InvalidDefinitionError | None:
    try:
        parse_dict(data)
    except InvalidDefinitionError as error:
        return error
    return None


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidError) as caught:
        parse_text(text)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("concurrency:", "concurency:", "unknown field 'concurency' (did you mean 'concurrency'?)"),
        ("timeout_ms: 30s", "timeout: 30", "(did you mean 'timeout_ms'? It takes milliseconds, or a text such as 30s)"),
        ("prompt_ref:", "prompt:", "(did you mean 'prompt_ref'?)"),
        ("tool_name:", "tool:", "(did you mean 'tool_name'?)"),
        ("tool_args:", "args:", "(did you mean 'tool_args'?)"),
        ("function_name:", "functon_name:", "config.body.config.functon_name: unknown field"),
        ("retry: {max_attempts: 3}", "retry: 3", "policy.retry: must be a mapping, got a number (write retry: {max_"),
        ("policy: {quality", "retry: 3\n      policy: {quality", "stands in `policy`: write policy: {retry: {max_at"),
        ("policy: {quality", "timeout: 90\n      policy: {quality", "as `timeout_ms`: write policy: {timeout_ms: 90s}"),
        ("policy: {quality: Gold", "quality: Gold\n      policy: {cache: true", "write policy: {quality: Gold}"),
        ("max_attempts: 3", "max_atempts: 3", "did you mean 'max_attempts'?"),
        ("max_attempts: 3", "attempts: 3", "did you mean 'max_attempts'?"),
        ("{prompt_ref: summarizer,", "{prompt_ref: summarizer, depends_on: [read],", "it stands in the node itself"),
        ("{prompt_ref: summarizer,", "{prompt_ref: summarizer, quality: Gold,", "it stands in `policy`: write policy:"),
        ("type: llm\n", "type: llm\n      needs: [read]\n", "did you mean 'depends_on'?"),
        ("type: llm\n", "type: llm\n      when: limit > 2\n", "did you mean 'condition'?"),
        ("type: llm\n", "type: llm\n      inputs: {x: 1}\n", "it stands in `config`: write config: {inputs: ...}"),
        ("condition: limit", "conditon: limit", "dag.edges[0].conditon: unknown field 'conditon' (did you mean"),
        ("{from: ask", "{frm: ask", "did you mean 'from'?"),
        ("type: number,", "typ: number,", "inputs.limit.typ: unknown field 'typ' (did you mean 'type'?)"),
        ("outputs:", "output:", "unknown field 'output' (did you mean 'outputs'?)"),
        ("dag:\n  nodes:", "dag:\n  steps:", "did you mean 'nodes'?"),
        ("name: w\n", "name: w\nretry: 3\n", "remove it; the fields here are dag, deadline_ms, description"),
        ("name: w\n", "name: w\ntimeout: 30s\n", "unknown field 'timeout'"),
        ("config: {message:", "config: {expires: 3d, message:", "did you mean 'expires_ms'?"),
        ("config: {message:", "zzz: 1\n      config: {message:", "(remove it; the fields here are compensate_with, "),
        ("dag:\n  nodes:", "dag:\n  inputs: {}\n  nodes:", "it stands in the definition itself"),
    ],
)
def test_usage_18_a_field_that_is_not_known_is_told_with_what_was_meant(old: str, new: str, told: str) -> None:
    assert old in TEXT
    found = problems(TEXT.replace(old, new, 1))
    assert any(told in problem for problem in found), found


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("args: {x: 1}", "arg: {x: 1}", "nodes[0].arg: unknown field 'arg' (did you mean 'args'?)"),
        ("args: {x: 1}", "tool_args: {x: 1}", "did you mean 'args'?"),
        ("args: {x: 1}", "args: {x: 1}, retry: 3", "it stands in `policy`: write policy: {retry: {max_attempts: 3}}"),
        ("args: {x: 1}", "args: {x: 1}, conditon: 'true'", "did you mean 'condition'?"),
        ("state: {schema", "state: {shema", "state.shema: unknown field 'shema' (did you mean 'schema'?)"),
    ],
)
def test_usage_18_in_a_graph_the_authors_words_are_used(old: str, new: str, told: str) -> None:
    assert old in GRAPH
    found = problems(GRAPH.replace(old, new, 1))
    assert any(told in problem for problem in found), found


def test_usage_18_all_problems_come_in_one_go() -> None:
    text = (
        TEXT.replace("concurrency", "concurency")
        .replace("timeout_ms: 30s", "timeout: 30")
        .replace("read.output.text}}", "raed.output.text}}")
        .replace("limit > 2", "limt > 2")
        .replace("text: write.output.text", "text: wirte.output.text")
        .replace("{type: string}", "{type: text}")
    )
    found = problems(text)
    for told in ("'concurency'", "'timeout'", "'raed'", "'limt'", "'wirte'", "inputs.page.type"):
        assert any(told in problem for problem in found), (told, found)
    assert len(found) == 6, found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("id: read, type: tool", "id: read, type: tol"),
        ("id: ask", "id: as k"),
        ("{from: ask, to: write}", "{from: ask}"),
        ('config: {message: "ok?"}', "config: {on_expire: reject, expires: 3d}"),
        ("tool_name: file.read", "tool_nam: file.read"),
        ("page: {type: string}", "page: string"),
        ("inputs:\n  page", "input:\n  page"),
        ('over: "{{read.output.lines}}"', 'ovr: "{{read.output.lines}}"'),
        ("  edges:\n", "  edgs:\n"),
    ],
)
def test_usage_18_what_one_mistake_makes_look_wrong_is_not_told(old: str, new: str) -> None:
    assert old in TEXT
    found = problems(TEXT.replace(old, new, 1))
    lines = {problem.partition(",")[0] for problem in found}
    assert len(lines) == 1, found


def test_usage_18_what_is_wrong_of_a_graphs_shape_comes_with_the_rest() -> None:
    found = problems(GRAPH.replace("entry_point: a\n", "").replace("edges:", "edgs:"))
    assert any("entry_point" in problem for problem in found)
    assert any("'edgs'" in problem for problem in found), found


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("ask.output.approvd", "ask.output has no field 'approvd' (did you mean 'approved'?)"),
        ("ask.error.kind == 'x'", "ask.error has no field 'kind' (ask.error has type, message)"),
        ("inputs.lmit > 2.0", "inputs has no field 'lmit' (did you mean 'limit'?)"),
    ],
)
def test_usage_18_a_field_that_can_not_be_there_is_found_when_it_is_registered(condition: str, told: str) -> None:
    for text in (
        TEXT.replace("condition: limit > 2", f'condition: "{condition}"'),
        TEXT.replace("content: read.output.text", f'content: "{{{{{condition}}}}}"'),
    ):
        found = problems(text)
        assert any(told in problem for problem in found), found


@pytest.mark.parametrize(
    "condition",
    [
        "ask.output.approved && ask.output.decisions.size() > 0",
        "has(ask.output.anything)",
        "read.output.whatever == 'x'",
        "'ask.output.nothing' == page",
        "read.error.type == 'x' || inputs.limit > 2.0",
    ],
)
def test_usage_18_what_may_be_there_is_taken(condition: str) -> None:
    parse_text(TEXT.replace("condition: limit > 2", f'condition: "{condition}"'))


def test_usage_18_every_field_of_a_mistaken_definition_is_looked_up_and_nothing_breaks() -> None:
    """Each key of the definition is misspelt in turn, and each value is one of another kind."""
    import yaml

    def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
        found = [path] if path else []
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in items:
            found += places(item, (*path, key))
        return found

    for source in (TEXT, GRAPH):
        for path in places(yaml.safe_load(source)):
            for other in (None, 7, "x", [], {}, [None], {"x": {"y": 1}}, "misspelt"):
                data = yaml.safe_load(source)
                holder = data
                for part in path[:-1]:
                    holder = holder[part]
                if other != "misspelt":
                    holder[path[-1]] = other
                elif isinstance(path[-1], str):
                    holder[path[-1] + "x"] = holder.pop(path[-1])
                refused = refusal(data)
                assert refused is None or all(problem.message for problem in refused.problems)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "judge.output.scor > 0.5",
            "there is no field 'scor' in judge.output, which has label, score (did you mean 's",
        ),
        ("judge.output.deep.x == 1", "no field 'x' in judge.output.deep, which has y"),
        ("tags.zone == 'x'", "there is no field 'zone' in tags, which has no fields (use has(...)"),
        ("judge.output.label == 'judge.output.none' && judge.output.gone == 1", "no field 'gone' in judge.output"),
    ],
)
def test_usage_18_at_run_time_the_fields_that_are_there_are_listed(text: str, told: str) -> None:
    output = {"score": 0.1, "label": "judge.output.none", **({"deep": {"y": 2}} if "deep" in text else {})}
    variables = {"judge": {"output": output}, "tags": {}}
    with pytest.raises(ExpressionError) as caught:
        expressions.condition(text).holds(variables)
    assert told in str(caught.value)


def test_usage_18_a_misspelt_field_is_not_told_as_missing_too() -> None:
    for old, new in (("prompt_ref:", "prompt:"), ("function_name:", "functon_name:"), ("tool_name:", "tool:")):
        assert len(problems(TEXT.replace(old, new, 1))) == 1
