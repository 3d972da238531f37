"""Mistakes that authors make, and that a run would find only later, or never: each with what is said of it."""

from __future__ import annotations

import keyword
import time
from typing import Any

import pytest

from agentflow_common.definition.dependencies import dependencies, loops
from agentflow_common.definition.model import PROBLEMS_MAX
from agentflow_common.definition.parse import parse_dict, parse_text
from agentflow_common.errors import InvalidError
from agentflow_common.expressions import language as expressions

FN = "type: function, config: {function_name: f}"


def dag(*nodes: str, edges: str = "", top: str = "") -> str:
    listed = "".join(f"    - {{{node}}}\n" for node in nodes)
    return f"name: w\n{top}dag:\n  nodes:\n{listed}  edges: [{edges}]\n"


def wait(config: str) -> str:
    return dag(f"id: w, type: wait, config: {{{config}}}")


def over(config: str) -> str:
    return dag(f"id: m, type: map, config: {{{config}, body: {{{FN}}}}}")


def when(condition: str, top: str = "inputs: {threshold: {type: number}}\n") -> str:
    return dag(f"id: a, condition: {condition!r}, {FN}", f"id: b-c, {FN}", f"id: b, {FN}", top=top)


def reads(value: str, top: str = "") -> str:
    given = f"type: function, config: {{function_name: f, inputs: {{x: {value!r}}}}}"
    return dag(f"id: fetch, {FN}", f"id: my-a, {FN}", f"id: b, {given}", top=top)


BODY = "body: {type: function, config: {function_name: f}}"
LOOP = dag(f"id: l, type: loop, config: {{while: 'iteration < 2', until: 'iteration > 2', max_iterations: 3, {BODY}}}")


def graph(state: str, node: str = "name: a, function: f", edges: str = "") -> str:
    return f"name: g\nentry_point: a\nstate: {{{state}}}\nnodes: [{{{node}}}]\nedges: [{edges}]\n"


CLOSED = "schema: {properties: {done: {type: boolean}}, additionalProperties: false}"
AGAIN = "inputs: {n: {type: integer}, m: {type: integer, default: 1}}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (wait("duration: 400d"), "duration: a duration is a text like 90s, 1h30m, 2d or a number of ms, of 366 days"),
        (wait("duration: -5"), "366 days at most; got -5"),
        (wait("duration: 1.5"), "config.duration: write an integer, got 1.5"),
        (dag(f"id: a, {FN}", f"id: b, depends_on: [a, a], join: 2, {FN}"), "depends_on[1]: the node 'a' is listed"),
        (dag(f"id: a, {FN}", f"id: b, {FN}", edges="{from: a, to: b}, {from: a, to: b}"), "a -> b appears twice"),
        (dag(f"id: a, {FN}", f"id: b, join: 2, depends_on: [a], {FN}", edges="{from: a, to: b}"), "1 edge leads there"),
        (wait("duration: true"), "config.duration: write an integer, got true"),
        (over("range: {stop: true}"), "config.range.stop: write an integer, got true"),
        (wait("duration: 5s, until: '2030-01-01T00:00:00Z'"), "one of `duration` and `until`, not both (remove one)"),
        (LOOP, "config: a loop takes one of `while` and `until`, not both (remove one)"),
        (wait("until: tomorrow"), "config.until: a time is RFC 3339"),
        (wait("until: '9999-01-01'"), "before the year 2255"),
        (over("over: pages"), '`over` must be a list, or refer to one (write over: "{{pages}}")'),
        (over("over: [1], item: index"), "config.item: the name 'index' is taken by the item's number"),
        (over("over: [1], item: m"), "config.item: the name 'm' is taken by a node (choose another)"),
        (over("over: [1], item: is"), "config.item: 'is' can't be a name in templates (choose another)"),
        (over("over: [1], item: my-page"), "config.item: 'my-page' can't be a name in templates (choose another)"),
        (dag("id: m, type: map, config: {over: [1], body: {config: {}}}"), "the body has no `type` (add `type:` with"),
        (when("thershold > 3"), "'thershold', which is neither an input nor a node (did you mean 'threshold'?)"),
        (when("b.score > 3"), "reads the step 'b' itself, which has output, status, error (write b.output.score)"),
        (when("b.outptu.x > 3"), "reads the step 'b' itself, which has output, status, error (write b.output)"),
        (when("b-c.output.x > 3"), "'b-c' can't stand in an expression: `-` means minus there (name the node b_c)"),
        (when("lenght(threshold) > 3"), "there is no function 'lenght' in conditions"),
        (when("threshold == True"), "the condition uses 'True' (CEL writes true)"),
        (when("threshold == None", top=""), "the condition uses 'None' (CEL writes null)"),
        (when("threshold > 3 and threshold < 5"), "(CEL writes && for and, || for or, ! for not)"),
        (when("threshold = 3"), "(compare with ==)"),
        (when("{{threshold}} > 3"), "a condition is not a template"),
        (reads("{{fetch.result}}"), "'fetch.result', and a step has output, status, error (write fetch.output.result)"),
        (reads("{{fecth.output.x}}"), "'fecth', which is neither an input nor a node (did you mean 'fetch'?)"),
        (reads("{{my-a.output}}"), "'my-a' can't stand in an expression"),
        (dag(f"id: a, {FN}", top="inputs: {n: {type: integer, default: many}}\n"), "inputs.n.default: the default is"),
        (dag(f"id: a, {FN}", top="inputs: {n: string}\n"), "must be a mapping, got a text (write {type: string})"),
        (dag(f"id: a, {FN}", edges="[a, b]"), "dag.edges[0]: must be a mapping, got a list (write {from: a, to: b})"),
        (dag(f"id: a, depends_on: b, {FN}"), "depends_on: must be a list, got a text (write [b])"),
        (dag("id: g, type: continue_as_new, config: {inputs: {k: 1, n: 1}}", top=AGAIN), "its inputs are n, m"),
        (dag("id: g, type: continue_as_new", top=AGAIN), "the next run needs the input 'n'"),
        (dag("id: a, type: function, config: {function_name: f, inputs: {x: {{y}}}}"), "put quotes around a template"),
        ("name: w\ndag:\n\tnodes: []\n", "YAML takes no tabs"),
        (dag("id: s, type: signal, config: {signal: go, on_timeout: continue}"), "`on_timeout` needs `timeout_ms`"),
        (dag("id: a, type: approval, config: {on_expire: reject}"), "`on_expire` needs `expires_ms`"),
        (dag(f"id: a, {FN}", top="outputs: {x: a.score}\n"), "(write a.output.score, or {{'a.score'}} for the text)"),
        (graph(CLOSED, edges="{from: a, to: END, condition: state.don}"), "edges[0].condition: 'don' is not a key"),
        (graph(CLOSED, node="name: a, function: f, writes: dnoe"), "'dnoe' is not a key of the state"),
        (graph(CLOSED, node="name: a, function: f, args: {x: state.nothing}"), "'nothing' is not a key of the state"),
        (graph(CLOSED[:-1] + "}, reducers: {log: append}"), "state.reducers: 'log' is not a key"),
        (graph("", edges="{from: START, to: a}"), "there is no node 'START' (`entry_point` names the first node)"),
        (dag(f"id: a, {FN}", top="inputs: {n: {minimum: x}}\n"), "inputs.n.minimum: write an integer, got 'x'"),
        (dag(f"id: a, {FN}", top="inputs: {n: {exclusiveMinimum: true}}\n"), "write a number, got true"),
        (over("zip: {}"), "config.zip: must have at least 1 field, got 0"),
        (dag(f"id: a, {FN}", top="lock: 5\n"), "lock: must be a mapping, or a list of mappings, got a number"),
        (dag(f"id: a, {FN}", top="lock: {key: k, nodes: []}\n"), "lock.nodes: must have at least 1 item, got 0"),
        (dag(f"id: a, {FN}", top="lock: {key: '', nodes: [a]}\n"), "lock.key: must have at least 1 character, got ''"),
        (dag(f"id: a, {FN}", top=f"run_lane: {'k' * 999}\n"), f"at most 256 characters, got '{'k' * 199}\u2026"),
        (graph("", edges="{from: a, to: end}"), "there is no node 'end' (write END)"),
    ],
)  # fmt: skip
def test_a_mistake_is_told(text: str, told: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_text(text)
    problems = [str(problem) for problem in caught.value.problems]
    assert any(told in problem for problem in problems), problems
    assert all(problem.place.startswith("line ") for problem in caught.value.problems)


@pytest.mark.parametrize(
    "text",
    [
        wait("until: 2030-01-31T09:00:00+01:00"),
        wait("until: 2030-01-31"),
        dag(f"id: a, {FN}", top="outputs: {x: b.score, y: a.b.c, z: a text}\n"),
        wait("duration: '{{minutes}}m'"),
        wait("until: w0.output.at").replace("- {id: w,", f"- {{id: w0, {FN}}}\n    - {{id: w,"),
        when("has(b.output.x) && b.output.x.all(item, item > threshold) && type(threshold) == double"),
        when("b.output.m.map(k, k.v).filter(z, z > 1).exists(q, q == threshold) && duration('1s') > duration('2s')"),
        when("anything > 3 && tags.k == 'v' && org != run && workflow.startsWith('w')", top=""),
        when("inputs.threshold > 3 && b.status == 'failed' && b.error.type.contains('x')"),
        when("'a and b = c' == b.output"),
        reads("{{ b2.output if false else anything.output_of }}".replace("b2", "fetch")),
        reads("{{fetch.status}} {{fetch.error}} {{run}} {{inputs.x}}"),
        graph(CLOSED, node="name: a, function: f, writes: done", edges="{from: a, to: END, condition: state.done}"),
    ],
)
def test_what_is_right_is_taken(text: str) -> None:
    parse_text(text)


def test_many_mistakes_in_a_large_definition_are_told_in_time() -> None:
    """What each might have meant is looked up for those that are told; for all of them it took minutes."""
    nodes = [
        {"id": f"node_{n}", "type": "function", "config": {"function_name": "f", "inputs": {"x": f"nodd_{n}x.output"}}}
        for n in range(3_000)
    ]
    began = time.process_time()
    with pytest.raises(InvalidError) as caught:
        parse_dict({"name": "w", "dag": {"nodes": nodes}})
    assert len(caught.value.problems) == PROBLEMS_MAX
    assert time.process_time() - began < 20


BODY = {"type": "function", "config": {"function_name": "f"}}
RESERVED = [
    *(
        "inputs",
        "self",
        "null",
        "true",
        "false",
        "none",
        "True",
        "None",
        "not",
        "and",
        "in",
        "is",
        "if",
        "else",
        "loop",
    ),
    *("for", "import", "let", "function", "package", "namespace", "return", "var", "void", "while", "as", "const"),
]


@pytest.mark.parametrize("name", RESERVED)
def test_engine_10_an_id_that_expressions_read_as_something_else_is_refused_with_a_fix(name: str) -> None:
    data = {"name": "w", "dag": {"nodes": [{"id": name, "type": "function", "config": {"function_name": "f"}}]}}
    with pytest.raises(InvalidError) as caught:
        parse_dict(data)
    assert caught.value.problems[0].place == "dag.nodes[0].id"
    assert f"call the node {name}_step" in caught.value.problems[0].fix
    graph = {"name": "g", "entry_point": name, "nodes": [{"name": name, "function": "f"}], "edges": []}
    with pytest.raises(InvalidError, match=f"call the node {name}_step"):
        parse_dict(graph)


def test_engine_10_an_id_is_free_to_templates_and_conditions_or_refused() -> None:
    """Every word that Python, Jinja or CEL know: a node of that name can be spoken of, or can't be registered."""
    words = {*RESERVED, *keyword.kwlist, *keyword.softkwlist, "size", "has", "int"}
    words |= {
        "items",
        "values",
        "get",
        "map",
        "all",
        "filter",
        "type",
        "dyn",
        "string",
        "state",
        "item",
        "org",
        "run",
        "tags",
    }
    words |= {"range", "dict", "cycler", "super", "caller", "loop", "context", "environment", "result", "missing"}
    view = {"output": {"x": 1}, "status": "completed", "error": None}
    free = 0
    for word in sorted(word for word in words if word.isidentifier()):
        node = {"id": word, "type": "function", "config": {"function_name": "f"}}
        inputs = {"a": f"{{{{{word}.output.x}}}}", "b": f"{word}.output.x"}
        asked = f"{word}.output.x == 1 && has({word}.output.x)"
        after = {
            "id": "z",
            "type": "function",
            "condition": asked,
            "config": {"function_name": "f", "inputs": inputs},
        }
        try:
            parse_dict({"name": "w", "dag": {"nodes": [node, after]}})
        except InvalidError as error:
            assert f"call the node {word}_step" in str(error), word  # noqa: PT017
            continue
        free += 1
        assert expressions.template(f"{{{{{word}.output.x}}}}").render({word: view}) == 1
        assert expressions.condition(asked).holds({word: view})
    assert free > 30


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("index", {"type": "map", "config": {"over": [1], "body": BODY}}),
        ("previous", {"type": "loop", "config": {"max_iterations": 2, "until": "iteration > 1", "body": BODY}}),
        ("output", {"type": "tool", "config": {"tool_name": "t"},
                    "compensate_with": {"type": "tool", "config": {"tool_name": "u"}}}),
    ],
)  # fmt: skip
def test_engine_10_an_id_that_another_node_hides_is_refused_and_free_elsewhere(name: str, node: dict[str, Any]) -> None:
    one = {"id": name, "type": "function", "config": {"function_name": "f"}}
    parse_dict({"name": "w", "dag": {"nodes": [one]}})
    with pytest.raises(InvalidError, match="means something else inside the node 'other'"):
        parse_dict({"name": "w", "dag": {"nodes": [one, {"id": "other", **node}]}})


def reading(**edges: Any) -> dict[str, Any]:
    """a -> c -> back to a, and b that reads a and that c waits for."""
    fn = {"type": "function", "config": {"function_name": "f"}}
    middle = {"id": "b", "type": "function", "config": {"function_name": "f", "inputs": {"x": "a.output"}}}
    back = {"from": "c", "to": "a", "condition": "c.output.more", "max_iterations": 2, **edges}
    return {"name": "w", "dag": {"nodes": [{"id": "a", **fn}, middle, {"id": "c", **fn}],
                                 "edges": [{"from": "a", "to": "c"}, {"from": "b", "to": "c"}, back]}}  # fmt: skip


def test_a_node_that_reads_a_loop_and_that_the_loop_waits_for_is_a_part_of_it() -> None:
    """It waited until the loop was left, and the loop for it: the run hung."""
    definition = parse_dict(reading())
    assert loops(definition, dependencies(definition))[0].body == ("a", "b", "c")


def test_a_cycle_of_references_stands_at_its_first_node() -> None:
    text = dag("id: x, type: function, config: {function_name: f}", reading_node("a", "b"), reading_node("b", "a"))
    with pytest.raises(InvalidError, match="form a cycle") as caught:
        parse_text(text.replace("  edges: []\n", ""))
    assert [problem.place for problem in caught.value.problems] == ["line 5, dag.nodes[1]"]


def reading_node(name: str, read: str) -> str:
    return f"id: {name}, type: function, config: {{function_name: f, inputs: {{x: {read}.output}}}}"


def test_problems_stand_in_the_order_of_their_lines() -> None:
    text = dag("id: a, type: wait, config: {duration: soon}", "id: b, typ: wait", top="nmae: w\nversion: two\n")
    with pytest.raises(InvalidError) as caught:
        parse_text(text)
    lines = [int(problem.place.split()[1].rstrip(",")) for problem in caught.value.problems]
    assert len(set(lines)) >= 3
    assert lines == sorted(lines)


def test_a_cycle_through_what_a_loop_reads_is_refused() -> None:
    """b reads d, which comes after it: what b waits for depends on its place in the loop, and that on what it reads."""
    data = reading()
    data["dag"]["nodes"][1]["config"]["inputs"]["y"] = "d.output"
    data["dag"]["nodes"].append({"id": "d", "type": "function", "config": {"function_name": "f"}})
    data["dag"]["edges"].append({"from": "b", "to": "d"})
    with pytest.raises(InvalidError, match="form a cycle"):
        parse_dict(data)


def test_a_loop_that_waits_for_what_comes_after_it_is_refused() -> None:
    with pytest.raises(InvalidError, match="form a cycle"):
        parse_dict(
            {
                "name": "w",
                "dag": {
                    "nodes": [
                        {"id": "a", "type": "function", "config": {"function_name": "f"}},
                        {"id": "c", "type": "function", "config": {"function_name": "f"}},
                        {
                            "id": "after",
                            "type": "function",
                            "config": {"function_name": "f", "inputs": {"x": "a.output"}},
                        },
                    ],
                    "edges": [
                        {"from": "a", "to": "c"},
                        {"from": "c", "to": "a", "condition": "after.output.more", "max_iterations": 2},
                    ],
                },
            }
        )
