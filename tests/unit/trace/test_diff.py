"""Comparisons of runs in single cases: names, places, chains, forks, vault tokens, stored values, visits."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.events import BegunStep, BlobRef, NextStep, OutputRef, Payload
from agentflow_common.rpc import TraceDiffReply
from agentflow_trace.diff.assignment import assign
from agentflow_trace.diff.compare import compare
from agentflow_trace.diff.graph import nodes_of
from agentflow_trace.diff.matching import match_nodes
from agentflow_trace.diff.records import RunRecord, read, value_of
from agentflow_trace.diff.values import FIELDS_MAX, differ
from tests.support.run_driver import RunDriver
from tests.support.trace_rows import rows_of

IDS: dict[str, Any] = {"org": "o", "run": "r"}


def _node(name: str, called: str = "f", *waits: str, **inputs: Any) -> dict[str, Any]:
    return {
        "id": name,
        "type": "function",
        "depends_on": list(waits),
        "config": {"function_name": called, "inputs": inputs},
    }


def _definition(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "w", "version": 1, "dag": {"nodes": list(nodes)}, **more}


def _match(old: dict[str, Any], new: dict[str, Any]) -> dict[str, str]:
    return match_nodes(nodes_of(old), nodes_of(new))


def _record(run: str, *events: ev.Event) -> RunRecord:
    return read(run, rows_of(enumerate(events, 1)))


def _play(definition: dict[str, Any], run: str, **fields: Any) -> RunRecord:
    driver = RunDriver(definition).submit(**fields)
    return read(run, rows_of(driver.plays({"x": 1, "y": 2}).log))


def _changes(reply: TraceDiffReply) -> dict[str, tuple[str, ...]]:
    return {side.step: step.changes for step in reply.steps if step.changes and (side := step.b or step.a) is not None}


# --- which node is which ---


def test_a_node_with_another_name_and_another_place_is_found_by_its_content() -> None:
    old = _definition(_node("a"), _node("b"), _node("c", "special", "a", limit=7))
    new = _definition(_node("a"), _node("b"), _node("z", "special", "b", limit=7))
    assert _match(old, new) == {"a": "a", "b": "b", "c": "z"}


def test_a_node_with_another_name_and_another_setting_is_found_by_its_place() -> None:
    old = _definition(_node("a"), _node("c", "rank", "a", limit=7, text="{{text}}"), _node("d", "store", "c"))
    new = _definition(_node("a"), _node("z", "rank", "a", limit=9, text="{{text}}"), _node("d", "store", "z"))
    assert _match(old, new)["c"] == "z"


def test_a_node_that_takes_the_name_of_a_removed_one_is_found_by_its_content() -> None:
    old = _definition(_node("a", "fetch", url="x"), _node("b", "rank", "a", limit=7))
    new = _definition(_node("a", "rank", limit=7))
    assert _match(old, new) == {"b": "a"}


def test_two_nodes_that_exchange_their_names_are_two_renamed_nodes() -> None:
    old = _definition(_node("a", "fetch", url="x"), _node("b", "rank", "a", limit=7))
    new = _definition(_node("b", "fetch", url="x"), _node("a", "rank", "b", limit=7))
    assert _match(old, new) == {"a": "b", "b": "a"}


def test_a_removed_and_an_added_node_that_do_different_things_are_not_one_node() -> None:
    old = _definition(_node("a"), _node("b", "fetch", "a", url="x"), _node("c", "store", "b"))
    new = _definition(_node("a"), _node("d", "rank", "a", limit=7), _node("c", "store", "d"))
    assert "b" not in _match(old, new)


def test_references_to_a_renamed_node_are_no_difference() -> None:
    old = _definition(_node("a"), _node("b", "g", text="Read {{a.output.x}} and\n{{a.output.y}}", plain="a.output"))
    new = _definition(_node("z"), _node("b", "g", text="Read {{z.output.x}} and\n{{z.output.y}}", plain="z.output"))
    reply = compare(_play(old, "run_a"), _play(new, "run_b"))
    assert _changes(reply) == {"z": ("renamed",)}
    assert [(part.what, part.kind, part.name) for part in reply.parts] == [("renamed", "node", "z")]


def test_a_thousand_renamed_nodes_of_a_chain_are_found() -> None:
    nodes = [_node(f"n{n}", "f", *([f"n{n - 1}"] if n else [])) for n in range(1_000)]
    others = [_node(f"z{n}", "f", *([f"z{n - 1}"] if n else [])) for n in range(1_000)]
    assert _match(_definition(*nodes), _definition(*others)) == {f"n{n}": f"z{n}" for n in range(1_000)}


def test_the_assignment_has_the_greatest_sum() -> None:
    assert assign({(0, 0): 600, (0, 1): 500, (1, 0): 590}, 450) == [(0, 1), (1, 0)]
    assert assign({(0, 0): 600, (0, 1): 449, (1, 0): 440}, 450) == [(0, 0)]
    assert assign({(0, 0): 500, (1, 0): 600, (2, 0): 550}, 450) == [(1, 0)]
    assert assign({}, 450) == []


# --- steps ---


def test_visits_of_a_node_and_compensations_belong_together_by_their_number() -> None:
    nodes = [_node("a"), _node("b", "g", "a")]
    back = {"edges": [{"from": "b", "to": "a", "condition": "b.output.again", "max_iterations": 5}]}
    definition = {"name": "w", "dag": {"nodes": nodes, **back}}

    def played(run: str, rounds: int) -> RunRecord:
        driver = RunDriver(copy.deepcopy(definition)).submit()
        for number in range(rounds):
            driver.completes(driver.open_tasks()[0].step, {})
            driver.completes(driver.open_tasks()[0].step, {"again": number + 1 < rounds})
        return read(run, rows_of(driver.log))

    reply = compare(played("run_a", 2), played("run_b", 3))
    assert _changes(reply) == {"b#2": ("output",), "a#3": ("visit",), "b#3": ("visit",)}


def test_a_step_that_a_run_did_not_reach_is_said_to_be_so() -> None:
    definition = _definition(_node("a"), _node("b", "g", "a"))
    failed = read("run_b", rows_of(RunDriver(definition).submit().fails("a").log))
    reply = compare(_play(definition, "run_a"), failed)
    assert _changes(reply) == {"a": ("status", "error"), "b": ("not_reached",)}
    assert [step.first for step in reply.steps] == [True, False]
    assert (reply.a.status, reply.b.status, reply.same) == ("completed", "failed", False)


def _in_a_chain(run: str, *, together: bool) -> RunRecord:
    submitted = ev.RunSubmitted(**IDS, ts=1, workflow="w", version=1, definition=_definition(_node("a"), _node("b")))
    scheduled: dict[str, Any] = {**IDS, "ts": 2, "seen": 1, "attempt": 1, "lane": "d", "kind": "function", "config": {}}
    done = Payload(value={"x": [4, 5]})
    if together:
        then = (NextStep("b", "function", {}, {"k": 1}, {"v": OutputRef("a", ("x", 1))}),)
        first = ev.StepScheduled(**scheduled, step="a", then=then)
        told = ev.StepCompleted(**IDS, ts=3, step="a", attempt=1, output=done, begun=BegunStep("b", "function"))
        return _record(run, submitted, first, told)
    second = ev.StepScheduled(**{**scheduled, "seen": 3, "ts": 3}, step="b", inputs={"k": 1, "v": 5})
    told = ev.StepCompleted(**IDS, ts=3, step="a", attempt=1, output=done)
    return _record(run, submitted, ev.StepScheduled(**scheduled, step="a"), told, second)


def test_what_a_worker_begins_by_itself_has_the_inputs_that_the_scheduler_would_have_given() -> None:
    apart, together = _in_a_chain("run_a", together=False), _in_a_chain("run_b", together=True)
    assert together.steps["b"].inputs == apart.steps["b"].inputs == value_of({"k": 1, "v": 5})
    assert compare(apart, together).same


def test_steps_that_a_fork_took_over_are_compared_by_their_outputs() -> None:
    definition = _definition(_node("a"), _node("b", "g", "a"))
    own = _play(definition, "run_a")
    seed = Payload(
        value={"a": {"status": "completed", "attempt": 1, "kind": "function", "output": {"value": {"x": 1, "y": 2}}}}
    )
    fork = _play(definition, "run_b", seed=seed, origin=ev.OriginRef("run_a", "fork"))
    reply = compare(own, fork)
    assert _changes(reply) == {"a": ("reused",)}
    assert (reply.b.origin, reply.steps[0].output) == ("run_a", None)


# --- values ---


def test_vault_tokens_of_two_runs_that_stand_for_the_same_value_are_equal() -> None:
    here, there = "<EMAIL_ADDRESS:7Q2M4K>", "<EMAIL_ADDRESS:QQQQQQ>"
    other = "<EMAIL_ADDRESS:ZZZZZZ>"
    assert differ(value_of({"to": [here, here]}), value_of({"to": [there, there]})) is None
    found = differ(value_of({"to": [here, here]}), value_of({"to": [there, other]}))
    assert found is not None
    assert [(field.path, field.new) for field in found.fields] == [("to[1]", "<EMAIL_ADDRESS:2>")]


def test_stored_values_are_compared_by_their_digests() -> None:
    refs = [value_of({"$blob": {"sha256": digit * 64, "size": 70_000}, "path": []}) for digit in "ab"]
    assert differ(refs[0], refs[0]) is None
    found = differ(refs[0], refs[1])
    assert found is not None
    assert (found.fields, found.old_bytes, found.old_sha256[:2], found.new_sha256[:2]) == ((), 70_000, "aa", "bb")
    output = Payload(ref=BlobRef("a" * 64, 70_000))
    done = ev.StepCompleted(**IDS, ts=3, step="a", attempt=1, output=output)
    offer = ev.StepScheduled(**IDS, ts=2, seen=1, step="a", attempt=1, lane="d", kind="function", config={})
    submitted = ev.RunSubmitted(**IDS, ts=1, workflow="w", version=1, definition=_definition(_node("a")))
    record = _record("run_a", submitted, offer, done)
    assert record.steps["a"].output == refs[0]


@pytest.mark.parametrize(
    ("old", "new", "fields"),
    [
        ({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 3]}, [("b[1]", "2", "3")]),
        ([1, 2, 3, 4], [1, 9, 2, 3, 4], [("[1]", None, "9")]),
        ({"a": None}, {}, [("a", "null", None)]),
        (1, True, [("", "1", "true")]),
        ({"a": {"b": 1}}, {"a": "b"}, [("a", '{"b":1}', "b")]),
    ],
)
def test_the_fields_that_differ_are_named(old: Any, new: Any, fields: list[tuple[str, Any, Any]]) -> None:
    found = differ(value_of(old), value_of(new))
    assert found is not None
    assert [(field.path, field.old, field.new) for field in found.fields] == fields


def test_texts_of_several_lines_have_a_unified_diff() -> None:
    found = differ(value_of({"text": "one\ntwo\nthree"}), value_of({"text": "one\n2\nthree"}))
    assert found is not None
    assert found.text.split("\n")[1:] == [" one", "-two", "+2", " three"]


def test_large_differences_are_bounded() -> None:
    found = differ(value_of({str(n): n for n in range(100)}), value_of({str(n): -n - 1 for n in range(100)}))
    assert found is not None
    assert (len(found.fields), found.left_out) == (FIELDS_MAX, 100 - FIELDS_MAX)
    found = differ(value_of("x" * 10_000), value_of("y" * 10_000))
    assert found is not None
    assert all(len(text or "") <= 200 for field in found.fields for text in (field.old, field.new))


def test_what_differs_before_the_first_step_is_listed() -> None:
    old, new = _definition(_node("a", limit=1)), _definition(_node("a", limit=2), description="new")
    reply = compare(
        _play(old, "run_a", inputs={"x": 1}, prompts={"p": "p@1"}),
        _play(new, "run_b", inputs={"x": 2}, prompts={"p": "p@2"}),
    )
    assert [(part.kind, part.what, part.name) for part in reply.parts] == [
        ("workflow", "changed", "w"),
        ("node", "changed", "a"),
        ("prompt", "changed", "p"),
    ]
    assert reply.inputs is not None
    assert "config" in _changes(reply)["a"]


def test_a_run_without_a_readable_definition_is_compared_by_its_steps() -> None:
    submitted = ev.RunSubmitted(**IDS, ts=1, workflow="w", version=1, definition={"dag": 5})
    offer = ev.StepScheduled(**IDS, ts=2, seen=1, step="a", attempt=1, lane="d", kind="function", config={})
    done = ev.StepCompleted(**IDS, ts=3, step="a", attempt=1)
    a, b = _record("run_a", submitted, offer, done), _record("run_b", submitted, offer)
    assert _changes(compare(a, a)) == {}
    assert _changes(compare(a, b)) == {"a": ("status",)}
