"""The steps and links of a flow become nodes and edges; steps that do nothing are left out where that can be said."""

from __future__ import annotations

from typing import Any

from agentctl.importers.convert import convert
from agentctl.importers.documents import Document, merged
from agentctl.importers.expression import Expr, Fields, Literal, Op, Ref, negated
from agentctl.importers.flow import START, Flow, name_of
from agentctl.importers.source import Part, Remarks

ROOT = Part({}, (), Remarks({}))
TOOL: dict[str, Any] = {"type": "tool", "config": {"tool_name": "t"}}
X: Expr = Op("==", (Ref("x"), Literal(1)))


def flow() -> Flow:
    return Flow("test", Part({}, (), Remarks({})))


def edges(made: Flow) -> set[tuple[str, str, str, int]]:
    found = made.definition()["dag"].get("edges", [])
    return {(edge["from"], edge["to"], edge.get("condition", ""), edge.get("max_iterations", 0)) for edge in found}


def nodes(made: Flow) -> list[str]:
    return [node["id"] for node in made.definition()["dag"]["nodes"]]


def test_names_are_ones_that_templates_can_read() -> None:
    assert [name_of(name) for name in ("a-b", "1st", "for", "item", "x y/z", "", "ö")] == [
        "a_b", "_1st", "for_step", "item_step", "x_y_z", "step", "step",
    ]  # fmt: skip


def test_a_choice_at_the_start_is_the_condition_of_its_steps() -> None:
    made = flow()
    choice = made.then(START, "choice", None, ROOT)
    made.then(choice, "a", TOOL, ROOT, X)
    made.then(choice, "b", TOOL, ROOT, negated(X))
    data = made.definition()["dag"]
    assert [(node["id"], node["condition"]) for node in data["nodes"]] == [("a", "x == 1"), ("b", "!(x == 1)")]
    assert "edges" not in data


def test_a_choice_with_a_way_around_keeps_the_start_as_a_step() -> None:
    made = flow()
    choice = made.then(START, "choice", None, ROOT)
    first = made.then(choice, "a", TOOL, ROOT, X)
    after = made.then(first, "then", None, ROOT)
    made.link(choice, after, negated(X))
    made.then(after, "b", TOOL, ROOT)
    assert edges(made) == {("start", "a", "x == 1", 0), ("start", "b", "!(x == 1)", 0), ("a", "b", "", 0)}
    assert made.definition()["dag"]["nodes"][0] == {"id": "start", "type": "wait", "config": {"duration": 0}}


def test_conditions_of_choices_in_a_row_are_joined() -> None:
    made = flow()
    first = made.then(START, "a", TOOL, ROOT)
    outer = made.then(first, "choice", None, ROOT)
    inner = made.then(outer, "choice", None, ROOT, X)
    made.then(inner, "b", TOOL, ROOT, Op(">", (Ref("y"), Literal(2))))
    assert edges(made) == {("a", "b", "(x == 1) && (y > 2)", 0)}


def test_two_ways_to_one_step_are_one_edge() -> None:
    made = flow()
    first = made.then(START, "a", TOOL, ROOT)
    last = made.then(first, "b", TOOL, ROOT, X)
    made.link(first, last, Op("==", (Ref("y"), Literal(2))))
    assert edges(made) == {("a", "b", "(x == 1) || (y == 2)", 0)}
    made = flow()
    first = made.then(START, "a", TOOL, ROOT)
    made.link(first, made.then(first, "b", TOOL, ROOT, X))
    assert edges(made) == {("a", "b", "", 0)}


def test_a_link_that_closes_a_circle_goes_back_with_a_bound_and_a_remark() -> None:
    made = flow()
    first = made.then(START, "a", TOOL, ROOT)
    last = made.then(first, "b", TOOL, ROOT)
    made.link(last, first, X)
    assert edges(made) == {("a", "b", "", 0), ("b", "a", "x == 1", 1000)}
    (remark,) = made.steps["b"].part.remarks.found
    assert remark.message == "the loop back to 'a' had no bound; here it ends after 1,000 rounds"


def test_two_loops_to_one_step_go_back_from_one_place() -> None:
    made = flow()
    first = made.then(START, "a", TOOL, ROOT)
    for name in ("b", "c"):
        made.link(made.then(first, name, TOOL, ROOT), first, X)
    assert edges(made) == {
        ("a", "b", "", 0), ("a", "c", "", 0), ("b", "again", "x == 1", 0), ("c", "again", "x == 1", 0),
        ("again", "a", "true", 1000),
    }  # fmt: skip


def test_a_step_that_nothing_leads_to_is_left_out_with_a_remark() -> None:
    made = flow()
    made.then(START, "a", TOOL, ROOT)
    made.then(made.add("lost", TOOL, made.part), "later", TOOL, made.part)
    assert nodes(made) == ["a"]
    assert sorted(remark.message for remark in made.part.remarks.found) == [
        "nothing leads to 'later', so it is left out", "nothing leads to 'lost', so it is left out",
    ]  # fmt: skip


def test_a_condition_that_cel_can_t_say_never_holds_and_has_a_remark() -> None:
    made = flow()
    first = made.then(START, "a", TOOL, made.part)
    made.then(first, "b", TOOL, made.part, Op("lower", (Ref("x"),)))
    assert edges(made) == {("a", "b", "false", 0)}
    (remark,) = made.part.remarks.found
    assert remark.message == "a condition can't be written in CEL: conditions have no operation 'lower'"


def test_where_ways_meet_the_latest_step_that_ran_counts() -> None:
    first, second = Document(Ref("a", ("output",))), Document(Ref("b", ("output",)))
    assert merged([first, second]).base == Op("first", (Ref("b", ("output",)), Ref("a", ("output",))))
    assert merged([first, first]) == first
    laid = merged([first.put(("x",), Ref("c", ("output",))), first])
    assert laid.at(("x", "y")) == Ref("c", ("output", "y"))
    assert laid.at(("z",)) == Ref("a", ("output", "z"))


def test_an_object_of_one_step_counts_as_that_step_where_ways_meet() -> None:
    made = Fields((("x", Ref("a", ("output", "x"))), ("y", Ref("a", ("output", "y")))))
    other = Document(Ref("b", ("output",)))
    assert merged([Document(made), other]).base == Op("first", (other.base, Ref("a", ("output",))))


def test_a_computed_object_counts_unless_its_step_was_skipped() -> None:
    made = Fields((("x", Ref("b", ("error", "type"))),))
    found = merged([Document(Ref("a", ("output",))), Document(made)]).base
    assert found == Op("if", (Op("!=", (Ref("b", ("status",)), Literal("skipped"))), made, Ref("a", ("output",))))


def test_a_definition_without_steps_is_a_wait_of_no_time() -> None:
    made = convert('{"nodes": [], "connections": {}}', "n8n")
    assert made.definitions[0].text == (
        "name: imported\nversion: 1\ndag:\n  nodes:\n    - {id: start, type: wait, config: {duration: 0}}\n"
    )
    assert not made.remarks
    assert not made.invalid
