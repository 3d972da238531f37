"""Graph-style text is the schema in other words, and its errors speak of the text as it was written."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.definition.parse import parse_dict, parse_text
from agentflow_common.errors import InvalidError

TEXT = """\
name: review
inputs: {code: {type: string}}
nodes:
  - {name: look, function: review_code}
  - name: fix
    tool: code.fix
    args: {code: state.code, first: "state.items[0].x", said: "on {{state.code}}", plain: state}
    policy: {retry: {max_attempts: 2}}
  - {name: ask, approval: {message: "fine?"}, writes: {ok: output.approved}}
  - {name: pause, wait: 5s}
  - {name: tell, prompt: summarizer@1, output: json}
  - {name: more, workflow: other@2, condition: state.ok}
edges:
  - {from: look, to: fix, condition: state.score < 0.8}
  - {from: fix, to: look, max_iterations: 3}
  - {from: fix, to: ask}
  - {from: ask, to: pause}
  - {from: ask, to: tell}
  - {from: ask, to: more}
  - {from: pause, to: __end__}
entry_point: look
state:
  schema: {properties: {score: {type: number}}}
  reducers: {log: append}
  initial: {score: 0}
max_supersteps: 20
"""
OK = "writes: {ok: output.approved}"
PAUSE = "- {name: pause, wait: 5s}"
FULL = """\
name: review
inputs: {code: {type: string}}
dag:
  nodes:
    - {id: look, type: function, config: {function_name: review_code, state_args: true}}
    - id: fix
      type: tool
      config:
        tool_name: code.fix
        tool_args:
          code: "{{state['code']}}"
          first: "{{state['items'][0]['x']}}"
          said: on {{state.code}}
          plain: state
      policy: {retry: {max_attempts: 2}}
    - {id: ask, type: approval, config: {message: "fine?"}, writes: {ok: output.approved}}
    - {id: pause, type: wait, config: {duration: 5s}}
    - {id: tell, type: llm, config: {prompt_ref: summarizer@1, state_args: true, output: json}}
    - {id: more, type: subworkflow, config: {workflow: other@2, state_args: true}, condition: state.ok}
  edges:
    - {from: look, to: fix, condition: state.score < 0.8}
    - {from: fix, to: look, max_iterations: 3}
    - {from: fix, to: ask}
    - {from: ask, to: pause}
    - {from: ask, to: tell}
    - {from: ask, to: more}
    - {from: pause, to: END}
graph:
  entry_point: look
  state:
    schema: {properties: {score: {type: number}}}
    reducers: {log: append}
    initial: {score: 0}
  max_supersteps: 20
"""


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidError) as caught:
        parse_text(text)
    return [str(problem) for problem in caught.value.problems]


def test_both_styles_say_the_same() -> None:
    written = parse_text(TEXT)
    assert written.canonical() == parse_text(FULL).canonical()
    assert parse_dict(written.canonical()).digest() == written.digest()


def test_the_old_word_for_the_bound_is_understood() -> None:
    graph = parse_text(TEXT.replace("max_supersteps: 20", "max_iterations: 7")).graph
    assert graph is not None
    assert graph.max_supersteps == 7


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("function: review_code", "function: ''", "line 4, nodes[0].function: must have at least 1 character, got ''"),
        ("tool: code.fix\n", "tool: code.fix\n    polcy: 3\n", "line 7, nodes[1].polcy: unknown field 'polcy'"),
        (OK, "writes: 5", "line 9, nodes[2].writes: give a key of the state"),
        (OK, "writes: {ok: approved}", "line 9, nodes[2].writes.ok: 'approved' is not a part"),
        ("to: fix, condition", "to: fx, condition", "line 14, edges[0].to: there is no node 'fx' (did you mean"),
        ("condition: state.score < 0.8", "condition: state.score <", "line 14, edges[0].condition"),
        ("max_iterations: 3", "max_iterations: 0", "line 15, edges[1].max_iterations"),
        ("entry_point: look", "entry_point: lok", "line 21, entry_point: there is no node 'lok'"),
        ("entry_point: look\n", "", "the field 'entry_point' is missing"),
        ("initial: {score: 0}", "initial: {score: x}", "line 25, state.initial: state.score does not fit"),
        ("{type: number}", "{type: numbr}", "line 23, state.schema: properties.score.type"),
        ("schema: {", "schema: {$ref: '#', ", "line 23, state.schema: the references from"),
        ("log: append", "log: push", "line 24, state.reducers.log"),
        ("log: append", "score: append", "line 24, state.reducers.score: the reducer `append` makes"),
        ("max_supersteps: 20", "max_supersteps: 0", "line 26, max_supersteps"),
        ("max_supersteps: 20", "max_supersteps: 5\nmax_iterations: 5", "line 27, max_iterations"),
        (PAUSE, "- {name: pause, wait: 5s, tool: x}", "line 10, nodes[3]: the node has tool and wait"),
        (PAUSE, "- {name: pause}", "line 10, nodes[3]: the node does nothing"),
        (PAUSE, "- {wait: 5s}", "line 10, nodes[3]: the node has no `name`"),
        (PAUSE, "- {name: fix, wait: 5s}", "line 10, nodes[3].name: the name 'fix' is taken by nodes[1]"),
        (PAUSE, "- pause", "line 10, nodes[3]: a node is a mapping"),
        (PAUSE, "- {name: END, wait: 5s}", "line 10, nodes[3].name: 'END' is where a graph ends"),
        ("  - {from: ask, to: pause}\n", "", "line 10, nodes[3]: no edge leads to 'pause' from 'look'"),
        ("wait: 5s}", "wait: 5s, depends_on: [ask]}", "line 10, nodes[3].depends_on"),
        ("wait: 5s", "wait: soon", "line 10, nodes[3].wait"),
        ("args: {code: state.code", "args: [1]\n    x: {code: state.code", "nodes[1].args"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_line_and_in_the_authors_words(before: str, after: str, said: str) -> None:
    assert before in TEXT
    found = problems(TEXT.replace(before, after, 1))
    assert any(said in problem for problem in found), found
    assert not any("dag." in problem or ".config" in problem for problem in found), found


def test_a_graph_needs_nodes() -> None:
    assert "line 2, nodes: there are no nodes" in problems("name: a\nnodes: []\nentry_point: a\n")[0]
    assert "line 1, nodes: the field 'nodes' is missing" in problems("name: a\nentry_point: a\n")[0]
    nodes: list[dict[str, Any]] = [{"name": f"n{i}", "function": "f"} for i in range(20)]
    edges = [{"from": f"n{i}", "to": f"n{(i + 1) % 20}"} for i in range(20)]
    made = parse_dict({"name": "ring", "nodes": nodes, "edges": edges, "entry_point": "n0"})
    assert len(made.dag.nodes) == 20


def test_a_dag_has_no_shared_state() -> None:
    node = {"id": "a", "type": "tool", "config": {"tool_name": "x", "state_args": True}, "writes": "k"}
    with pytest.raises(InvalidError) as caught:
        parse_dict({"name": "a", "dag": {"nodes": [node]}})
    places = {problem.place for problem in caught.value.problems}
    assert places == {"dag.nodes[0].writes", "dag.nodes[0].config.state_args"}


@pytest.mark.parametrize(
    ("key", "name"), [("7", "7"), ("1.5", "1.5"), ("yes", "True"), ("off", "False"), ("null", "None")]
)
def test_a_key_of_the_states_schema_is_a_text(key: str, name: str) -> None:
    text = f"name: g\nentry_point: a\nstate: {{schema: {{properties: {{{key}: {{type: integer}}}}}}}}\n"
    (found,) = problems(text + "nodes: [{name: a, function: f}]\nedges: [{from: a, to: END}]\n")
    assert found == f"line 3, state.schema: the key {name} is not a text (put quotes around it)"
