"""Maps whose items are maps: their order, bounds, failures and results, and what retries, forks, crashes do."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.nodes.base import ITEMS_MAX
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.runs import fork as forking
from agentflow_common.runs.explain import Surroundings, explain
from agentflow_common.runs.state import RunStatus
from tests.support.definitions import BODY, CONTINUE, ONCE, child, function, in_order, workflow
from tests.support.run_driver import RunDriver

CELL = {"type": "function", "config": {"function_name": "f", "inputs": {"x": "{{cell}}", "row": "{{row.name}}"}}}
ROWS = [{"name": "a", "cells": [1, 2]}, {"name": "b", "cells": []}, {"name": "c", "cells": [3]}]


def inner(body: Any = CELL, **config: Any) -> dict[str, Any]:
    items = {} if {"over", "zip", "range"} & config.keys() else {"over": "{{row.cells}}"}
    return {"type": "map", "config": {**items, "item": "cell", "body": body, **config}}


def rows(body: Any = None, policy: Any = ONCE, **config: Any) -> dict[str, Any]:
    items = {} if {"over", "zip", "range"} & config.keys() else {"over": ROWS}
    return {
        "id": "m", "type": "map", "policy": policy,
        "config": {**items, "item": "row", "body": body or inner(), **config},
    }  # fmt: skip


def begun(node: Any = None, inputs: Any = None) -> RunDriver:
    return RunDriver(workflow(node or rows())).submit(inputs).check_log()


def offered(run: RunDriver) -> list[Any]:
    """The steps that were offered, with their inputs."""
    return [(task.step, task.inputs) for task in run.of(ev.StepScheduled)]


# --- items and results ---


def test_each_item_of_the_outer_map_is_a_map() -> None:
    run = begun()
    assert offered(run) == [
        ("m[0][0]", {"x": 1, "row": "a"}), ("m[0][1]", {"x": 2, "row": "a"}), ("m[2][0]", {"x": 3, "row": "c"}),
    ]  # fmt: skip
    assert [(event.step, event.width) for event in run.of(ev.StepExpanded)] == [
        ("m", 3), ("m[0]", 2), ("m[1]", 0), ("m[2]", 1),
    ]  # fmt: skip
    run.completes("m[2][0]", 9).completes("m[0][1]", 8).completes("m[0][0]", 7).check_log()
    assert run.output == {"m": [[7, 8], [], [9]]}
    assert [event.step for event in run.of(ev.StepJoined)] == ["m[1]", "m[2]", "m[0]", "m"]


def test_four_levels_with_numbers_of_their_own() -> None:
    leaf = {"type": "function", "config": {"function_name": "f", "inputs": {"at": "{{[i, j, k, index]}}"}}}
    level = {"type": "map", "config": {"over": [5, 6], "item": "d", "body": leaf}}
    for item, index in (("c", "k"), ("b", "j")):
        level = {"type": "map", "config": {"over": [5, 6], "item": item, "index": index, "body": level}}
    node = {"id": "m", "type": "map", "config": {"over": [5, 6], "item": "a", "index": "i", "body": level}}
    run = begun(node)
    assert len(run.offered) == 16
    assert run.inputs("m[1][0][1][0]") == {"at": [1, 0, 1, 0]}
    assert run.plays("x").output == {"m": [[[["x", "x"]] * 2] * 2] * 2}


def test_the_innermost_map_gives_index() -> None:
    leaf = {"type": "function", "config": {"function_name": "f", "inputs": {"at": "{{index}}"}}}
    assert [inputs["at"] for _, inputs in offered(begun(rows(inner(leaf))))] == [0, 1, 0]


@pytest.mark.parametrize(
    ("config", "items"),
    [
        ({"range": {"stop": "{{index + 1}}"}}, [[0], [0, 1], [0, 1, 2]]),
        ({"zip": {"p": "{{row.cells}}", "q": "{{row.cells}}"}},
         [[{"p": 1, "q": 1}, {"p": 2, "q": 2}], [], [{"p": 3, "q": 3}]]),
        ({"over": "{{row}}", "batches": 2},
         [[[{"key": "cells", "value": row["cells"]}, {"key": "name", "value": row["name"]}]] for row in ROWS]),
        ({"item_condition": "cell > 1 && row.name != 'c'"}, [[2], [], []]),
    ],
)  # fmt: skip
def test_the_items_of_the_inner_map_may_depend_on_those_of_the_outer(config: Any, items: list[Any]) -> None:
    run = begun(rows(inner(**config)))
    given: list[list[Any]] = [[], [], []]
    for step, inputs in offered(run):
        given[int(step[2])].append(inputs["x"])
    assert given == items


def test_results_as_objects_and_skipped_rows() -> None:
    table = {"a": {"x": 1, "y": 2}, "b": {"x": 3}, "c": {}}
    node = rows(inner(BODY, over="{{row.value}}", result="object"), over=table, result="object",
                item_condition="row.key != 'b'")  # fmt: skip
    run = begun(node).completes("m[0][1]", "Y").completes("m[0][0]", "X")
    assert run.statuses["m[1]"] == "skipped"
    assert run.output == {"m": {"a": {"x": "X", "y": "Y"}, "b": None, "c": {}}}


def test_outputs_that_are_stored_out_of_line_are_found_in_all_levels() -> None:
    read = function("read", inputs={"one": "m.output[0][1].n", "all": "{{m.output[0] | length}} {{m.output[0][1].n}}"})
    run = RunDriver(in_order(rows(over=ROWS[:1]), read)).submit()
    run.completes("m[0][0]", {"n": 1}).completes("m[0][1]", run.store({"n": 2}))
    assert run.inputs("read")["all"] == "2 2"
    assert run.inputs("read")["one"]["path"] == ["n"]


def test_the_map_waits_for_all_that_its_levels_read() -> None:
    body = {"type": "function", "config": {"function_name": "f", "inputs": {"over": "{{third.output}}"}}}
    node = rows(inner(body, over="first.output", item_condition="cell > second.output"))
    run = RunDriver(workflow(function("first"), function("second"), function("third"), node)).submit()
    for step, output in (("first", [1, 2]), ("second", 1), ("third", 7)):
        assert "m" not in run.statuses
        run.completes(step, output)
    assert offered(run)[3:] == [(f"m[{number}][1]", {"over": 7}) for number in range(3)]


# --- bounds ---


def test_each_level_has_its_own_concurrency() -> None:
    run = begun(rows(inner(BODY, range={"stop": 3}, concurrency=2), range={"stop": 3}, concurrency=1))
    assert run.offered == ["m[0][0]", "m[0][1]"]
    for step in ("m[0][0]", "m[0][1]", "m[0][2]"):
        run.completes(step, 1)
    assert run.offered[2:] == ["m[0][2]", "m[1][0]", "m[1][1]"]
    assert run.plays(1).output == {"m": [[1, 1, 1]] * 3}


def test_a_full_pool_keeps_back_the_rest_of_every_level() -> None:
    room = [2]

    def take(pool: str) -> bool:
        room[0] -= bool(pool)
        return not pool or room[0] >= 0

    run = RunDriver(workflow(rows()), take=take).submit()
    assert run.offered == ["m[0][0]", "m[0][1]"]
    room[0] = 9
    assert run.completes("m[0][0]").offered[2:] == ["m[2][0]"]


def test_all_inner_maps_together_have_a_bound() -> None:
    half = ITEMS_MAX // 2
    run = begun(rows(inner(range={"stop": "{{row}}"}, item_condition="false"), over=[half, half, 1]))
    assert run.status is RunStatus.FAILED
    assert run.error.message.endswith("m[2]: all maps in m together have at most 10,000 items; use a subworkflow")
    assert begun(rows(inner(range={"stop": "{{row}}"}, item_condition="false"), over=[half, half])).output


# --- failures ---


def test_an_inner_map_that_fails_is_one_failed_item_of_the_outer() -> None:
    run = begun(rows(on_item_failure="continue", max_failures=1)).fails("m[0][0]")
    assert run.statuses["m[0]"] == "failed"
    assert run.statuses["m[0][1]"] == "cancelled"
    error = run.state.steps["m[0]"].error
    assert error == StepError("E", "1 of 2 items failed; the first, m[0][0]: no", retryable=False)
    assert run.completes("m[2][0]", 9).check_log().output == {"m": [None, [], [9]]}


def test_an_item_that_fails_may_stay_in_its_level() -> None:
    run = (
        begun(rows(inner(on_item_failure="continue"))).fails("m[0][0]").completes("m[0][1]", 8).completes("m[2][0]", 9)
    )
    assert run.output == {"m": [[None, 8], [], [9]]}


def test_the_first_failure_ends_all_levels_and_the_run_names_the_place() -> None:
    run = begun().fails("m[2][0]").check_log()
    assert {key: status for key, status in run.statuses.items() if key != "m[1]"} == {
        "m": "failed", "m[0]": "cancelled", "m[0][0]": "cancelled", "m[0][1]": "cancelled",
        "m[2]": "failed", "m[2][0]": "failed",
    }  # fmt: skip
    text = "1 of 3 items failed; the first, m[2]: 1 of 1 items failed; the first, m[2][0]: no"
    assert run.error == StepError("E", text, retryable=False)


def test_an_inner_map_without_a_list_fails_alone() -> None:
    node = rows(over=[{"cells": 5}, ROWS[2]], on_item_failure="continue")
    run = begun(node).completes("m[1][0]", 9)
    assert run.output == {"m": [None, [9]]}
    error = run.state.steps["m[0]"].error
    assert error is not None
    assert error.message == "m[0]: `over` must be a list or an object, it is a number"


def test_an_item_is_tried_again_and_a_person_may_decide_about_one() -> None:
    policy = {"retry": {"max_attempts": 2, "initial_ms": 5}, "on_unknown": "ask"}
    run = begun(rows(inner({"type": "tool", "config": {"tool_name": "t"}}), policy=policy))
    run.fails("m[0][0]", StepError("busy", "later")).fires("retry:m[0][0]:1").completes("m[0][0]", 1)
    run.is_unknown("m[0][1]").completes("m[2][0]", 3)
    run.tell(ev.OutcomeResolved, step="m[0][1]", attempt=1, outcome="completed", output=Payload(value=2), by="ann")
    assert run.check_log().output == {"m": [[1, 2], [], [3]]}


def test_a_total_time_ends_all_levels() -> None:
    policy = {"total_timeout_ms": 100, "retry": {"max_attempts": 3, "initial_ms": 10_000}}
    run = begun(rows(policy={**policy, "on_failure": "continue"})).fails("m[0][0]", StepError("busy", "later"))
    run.fires("total:m").check_log()
    assert run.output == {"m": None}
    assert {run.statuses[key] for key in ("m[0]", "m[2]", "m[0][0]", "m[0][1]", "m[2][0]")} == {"cancelled"}
    error = run.state.steps["m"].error
    assert error is not None
    assert error.message.endswith("the last error was busy: later")


def test_a_failed_run_undoes_the_items_of_all_levels() -> None:
    body = {"type": "function", "config": {"function_name": "f"}}
    undo = {
        "type": "function",
        "config": {"function_name": "undo", "inputs": {"x": "{{[row.name, cell, index, output]}}"}},
    }
    node = {**rows(inner(body), concurrency=1), "compensate_with": undo}
    run = RunDriver(in_order(node, function("last", policy=ONCE))).submit()
    run.completes("m[0][0]", 7).completes("m[0][1]", 8).completes("m[2][0]", 9).fails("last")
    for key, given in (("m[2][0]", ["c", 3, 0, 9]), ("m[0][1]", ["a", 2, 1, 8]), ("m[0][0]", ["a", 1, 0, 7])):
        assert run.undone() == [key]
        assert run.inputs(f"{key}:undo") == {"x": given}
        run.completes(f"{key}:undo")
    assert run.status is RunStatus.FAILED


# --- cancel, pause, why ---


def test_a_pause_keeps_back_every_level_and_a_cancel_closes_it() -> None:
    run = begun(rows(inner(concurrency=1), concurrency=1))
    run.tell(ev.RunPauseRequested).completes("m[0][0]", 1)
    assert run.offered == ["m[0][0]"]
    run.tell(ev.RunResumeRequested)
    assert run.offered == ["m[0][0]", "m[0][1]"]
    run.cancels().check_log()
    assert run.status is RunStatus.CANCELLED
    assert run.statuses == {
        "m": "cancelled", "m[0]": "cancelled", "m[0][0]": "completed", "m[0][1]": "cancelled",
    }  # fmt: skip


def test_subworkflows_and_lanes_know_the_items_of_all_levels() -> None:
    body = {"type": "subworkflow", "config": {"workflow": "child", "inputs": {}}}
    run = RunDriver(workflow(rows(inner(body)))).submit(definitions=child())
    for key, output in (("m[0][0]", 1), ("m[0][1]", 2), ("m[2][0]", 3)):
        run.child_ends(key, output=output)
    assert run.output == {"m": [[1, 2], [], [3]]}
    run = begun({**rows(), "lane": "{{row.name}}-{{cell}}"})
    assert [queued.lane for queued in run.of(ev.StepQueued)] == ["a-1", "a-2", "c-3"]


def test_why_shows_the_place() -> None:
    run = begun(rows(inner(concurrency=1))).completes("m[2][0]")
    lines = {item.step: item.text for item in explain(run.state, run.definition, Surroundings(now_ms=1)).waiting}
    assert lines.keys() == {"m", "m[0]", "m[0][0]"}
    assert lines["m"] == "2 of 3 items are done, 1 is under way"
    assert lines["m[0]"] == "0 of 2 items are done, 1 is under way"


# --- crashes ---


@pytest.mark.parametrize("config", [{}, {"concurrency": 1}, {"on_item_failure": "continue"}])
def test_after_any_crash_it_goes_on_in_the_same_way(config: dict[str, Any]) -> None:
    def play(keep: int | None, at: int) -> RunDriver:
        run = RunDriver(workflow(rows(inner(concurrency=1), policy=CONTINUE, **config))).submit()
        steps = 0
        while not run.status.terminal:
            if steps == at and keep is not None:
                run.crash(min(keep, len(run.made))).decide()
            task = run.open_tasks()[0].step
            run.fails(task) if task == "m[0][1]" else run.completes(task, task)
            steps += 1
        return run.check_log()

    whole = play(None, 0)
    for at in range(3):
        for keep in range(12):
            again = play(keep, at)
            assert (again.output, again.statuses) == (whole.output, whole.statuses)


def test_after_a_crash_while_all_levels_are_closed_the_rest_is_closed() -> None:
    first = begun().fails("m[2][0]")
    for keep in range(len(first.made) + 1):
        run = begun().fails("m[2][0]").crash(keep).decide()
        assert (run.status, run.statuses) == (first.status, first.statuses)
        run.check_log()


# --- retry and fork ---


def begun_from(seed: forking.Seed, made: RunDriver, **fields: Any) -> RunDriver:
    steps = Payload(value=forking.encoded_steps(seed))
    return RunDriver(made.definition).submit(seed=steps, position=seed.position, **fields)


def test_a_retry_keeps_what_succeeded_in_every_level() -> None:
    failed = begun(rows(inner(concurrency=1), over=[*ROWS, {"name": "d", "cells": [4, 5]}]))
    failed.completes("m[0][0]", 1).completes("m[2][0]", 3).completes("m[3][0]", 4).fails("m[3][1]")
    assert failed.status is RunStatus.FAILED
    seed = forking.retry(failed.state, failed.definition, forking.Changes())
    assert {key: str(step.status) for key, step in seed.steps.items()} == {
        "m": "running", "m[0]": "running", "m[1]": "completed", "m[2]": "completed", "m[3]": "running",
        "m[0][0]": "completed", "m[0][1]": "retrying", "m[2][0]": "completed",
        "m[3][0]": "completed", "m[3][1]": "retrying",
    }  # fmt: skip
    again = begun_from(seed, failed)
    assert again.offered == ["m[0][1]", "m[3][1]"]
    again.completes("m[3][1]", 5).completes("m[0][1]", 2).check_log()
    assert again.output == {"m": [[1, 2], [], [3], [4, 5]]}


@pytest.mark.parametrize(
    ("at", "begins", "output"),
    [
        ("m[0][1]", ["m[0][1]"], [[1, "x"], [], [3]]),
        ("m[0]", ["m[0][0]", "m[0][1]"], [["x", "x"], [], [3]]),
        ("m[1]", [], [[1, 2], [], [3]]),
        ("m", ["m[0][0]", "m[0][1]", "m[2][0]"], [["x", "x"], [], ["x"]]),
    ],
)
def test_a_fork_at_a_place_keeps_the_others(at: str, begins: list[str], output: list[Any]) -> None:
    whole = begun().completes("m[0][0]", 1).completes("m[0][1]", 2).completes("m[2][0]", 3)
    seed = forking.fork(whole.state, whole.state, whole.definition, at)
    again = begun_from(seed, whole)
    assert again.offered == begins
    assert again.check_log().plays("x").output == {"m": output}


def test_a_fork_at_an_item_of_an_inner_map_that_failed_begins_what_was_closed_with_it() -> None:
    whole = begun(rows(on_item_failure="continue")).fails("m[0][0]").completes("m[2][0]", 3)
    assert whole.output == {"m": [None, [], [3]]}
    again = begun_from(forking.fork(whole.state, whole.state, whole.definition, "m[0][0]"), whole)
    assert again.offered == ["m[0][0]", "m[0][1]"]
    assert again.check_log().plays("x").output == {"m": [["x", "x"], [], [3]]}


def test_a_fork_may_change_what_the_innermost_body_is_given() -> None:
    whole = begun().completes("m[0][0]", 1).completes("m[0][1]", 2).completes("m[2][0]", 3)
    seed = forking.fork(whole.state, whole.state, whole.definition, "m")
    changed = forking.edited(whole.definition, seed, forking.Changes(step_inputs={"m": {"x": 0}}))
    again = RunDriver(changed).submit()
    assert again.inputs("m[2][0]") == {"x": 0, "row": "c"}


# --- what a definition may say ---


PLACE = "dag.nodes[0].config.body.config"


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (rows(inner(item="row")), f"{PLACE}.item: the name 'row' is taken by the item of the map around it (choose"),
        (rows(inner(index="row")), f"{PLACE}.index: the name 'row' is taken by the item of the map around it (choose"),
        (rows(inner(item="n"), index="n"), f"{PLACE}.item: the name 'n' is taken by the number in the map around it"),
        (rows(inner(item="cell", index="cell")), f"{PLACE}.item: the name 'cell' is taken by the item's number"),
        (rows(index="m"), "dag.nodes[0].config.index: the name 'm' is taken by a node"),
        (rows(index="is"), "dag.nodes[0].config.index: 'is' can't be a name in templates"),
        (rows(inner(over="{{cell}}"), over="{{a}}"), f"{PLACE}.over: the template uses 'cell', which is neither"),
        (rows(inner(over="cells")), f"{PLACE}.over: `over` must be a list, or refer to one"),
        (rows(inner(item_condition="cel > 1")), f"{PLACE}.item_condition: the condition uses 'cel'"),
        (rows(inner(max_failures=1)), f"{PLACE}.max_failures: `max_failures` needs `on_item_failure: continue`"),
        (rows(item_condition="cell > 1"), "dag.nodes[0].config.item_condition: the condition uses 'cell'"),
        (rows(inner(condition="true")), f"{PLACE}.condition: unknown field 'condition'"),
        (rows(inner(inner({"type": "tool", "config": {}}, over=[1], item="c"))),
         f"{PLACE}.body.config.body.config.tool_name: the field 'tool_name' is missing (add `tool_name:`)"),
        (rows(inner(inner(over=[1], concurency=3))), f"{PLACE}.body.config.concurency: unknown field 'con"),
        (rows({"type": "loop", "config": {}}),
         "body.type: a loop can't be a body here (put it into a workflow of its own and use a subworkflow, or use"),
        ({"id": "l", "type": "loop", "config": {"until": "true", "max_iterations": 2, "body": inner(over=[1])}},
         "dag.nodes[0].config.body.type: a map can't be a body here (put it into a workflow of its own and use a"),
        (rows(inner(inner(inner(inner(over=[1], item="e"), over=[1], item="d"), over=[1], item="c"), over=[1])),
         f"{PLACE}.body.config.body.config.body.config: maps are nested more than 4 deep (put the inner ones into a"),
    ],
)  # fmt: skip
def test_what_is_refused_with_its_place(node: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_dict({**workflow(node), "inputs": {"a": {"type": "array"}}})
    assert any(said in f"{item.place}: {item.message} ({item.fix})" for item in caught.value.problems), caught.value


def test_the_canonical_form_of_a_nested_map_reads_back() -> None:
    definition = parse_dict(workflow(rows(inner(index="n", concurrency=2), index="line")))
    assert parse_dict(definition.canonical()) == definition
    assert definition.canonical()["dag"]["nodes"][0]["config"]["body"]["config"]["index"] == "n"
    assert [work.path for _, work in definition.works()] == [("config", "body", "config", "body", "config")]
