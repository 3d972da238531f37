"""Repeated steps in repeated steps of other engines are maps in maps, and what these can't hold is a subworkflow."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from agentctl.importers.convert import convert
from tests.support.imports import argo, conductor, imported, node, simple, task_of

LAMBDA = {"Type": "Task", "Resource": "arn:aws:lambda:eu:1:function:f", "End": True}


def bodies(made: dict[str, Any], name: str) -> list[str]:
    """Returns the types of the bodies of a map, from the outermost to the innermost."""
    work, found = node(made, name), []
    while (work := work["config"].get("body", {})) != {}:
        found.append(work["type"])
    return found


def all_of(engine: str, source: Any) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    made = convert(json.dumps(source), engine)
    return [yaml.safe_load(written.text) for written in made.definitions], made.invalid


def nested_argo(depth: int, **more: Any) -> dict[str, Any]:
    """A template of each level repeats the one below it; `more` is of the first one."""
    inputs = {"inputs": {"parameters": [{"name": "x"}]}}
    templates = [{"name": f"t{level}", **inputs, **(more if level == 1 else {}), "steps": [[called(f"t{level + 1}")]]}
                 for level in range(1, depth)]  # fmt: skip
    templates.append({"name": f"t{depth}", **inputs, "container": {"image": "i"}})
    return argo(called("t1"), templates=templates)


def called(template: str) -> dict[str, Any]:
    given = {"parameters": [{"name": "x", "value": "{{item}}"}]}
    items = [1, 2] if template == "t1" else None
    return {"name": "each", "template": template, "arguments": given,
            **({"withItems": items} if items else {"withParam": "{{inputs.parameters.x}}"})}  # fmt: skip


def test_argo_four_levels_are_one_map_and_the_fifth_is_a_subworkflow() -> None:
    (main,), invalid = all_of("argo", nested_argo(4))
    assert bodies(main, "each") == ["map", "map", "map", "tool"]
    innermost = node(main, "each")["config"]["body"]["config"]["body"]["config"]["body"]["config"]
    assert (innermost["over"], innermost["item"]) == ("{{item_3}}", "item_4")
    assert innermost["body"]["config"]["tool_args"] == {"x": "{{item_4}}"}
    (main, child), below = all_of("argo", nested_argo(5))
    assert bodies(main, "each") == ["map", "map", "map", "subworkflow"]
    assert bodies(child, "each") == ["tool"]
    assert invalid == below == ()


@pytest.mark.parametrize(
    "more",
    [
        {"outputs": {"parameters": [{"name": "o", "valueFrom": {"parameter": "{{steps.each.outputs.result}}"}}]}},
        {"synchronization": {"mutex": {"name": "db"}}},
        {"retryStrategy": {"limit": 2}},
        {"onExit": "do"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_argo_a_template_with_something_of_its_own_is_a_subworkflow(more: dict[str, Any]) -> None:
    (main, child), invalid = all_of("argo", nested_argo(2, **more))
    assert (bodies(main, "each"), bodies(child, "each")) == (["subworkflow"], ["tool"])
    assert invalid == ()


def test_argo_the_policy_and_the_lane_of_the_innermost_template_are_those_of_the_map() -> None:
    source = nested_argo(2)
    source["spec"]["templates"][-1] |= {
        "retryStrategy": {"limit": 2}, "synchronization": {"mutex": {"name": "db-{{inputs.parameters.x}}"}},
    }  # fmt: skip
    (main,), invalid = all_of("argo", source)
    assert node(main, "each")["policy"]["retry"]["max_attempts"] == 3
    assert invalid == ()


def test_argo_a_template_that_repeats_itself_is_a_subworkflow() -> None:
    again = called("again")
    inner = {"name": "again", "inputs": {"parameters": [{"name": "x"}]}, "steps": [[again]]}
    definitions, invalid = all_of("argo", argo({**again, "withParam": None, "withItems": [[1]]}, templates=[inner]))
    assert [bodies(made, "each") for made in definitions] == [["map", "subworkflow"], ["subworkflow"]]
    assert invalid == ()


def states(inner: dict[str, Any], **more: Any) -> dict[str, Any]:
    cells = {"Type": "Map", "ItemsPath": "$.cells", "ItemProcessor": {"StartAt": "x", "States": inner}, "End": True}
    rows = {"Type": "Map", "ItemsPath": "$.rows", "End": True,
            "ItemProcessor": {"StartAt": "cells", "States": {"cells": {**cells, **more}}}}  # fmt: skip
    return {"Comment": "m", "StartAt": "rows", "States": {"rows": rows}}


def test_step_functions_a_map_in_a_map() -> None:
    tolerant = {"ToleratedFailurePercentage": 50, "MaxConcurrency": 3, "ItemBatcher": {"MaxItemsPerBatch": 2}}
    (main,), invalid = all_of("step-functions", states({"x": LAMBDA}, **tolerant))
    inner = node(main, "rows")["config"]["body"]["config"]
    assert (inner["on_item_failure"], inner["max_failures"], inner["concurrency"], inner["batches"]) == (
        "continue", 0.5, 3, 2,
    )  # fmt: skip
    assert inner["body"]["config"]["tool_args"] == {"input": "{{item_2}}"}
    assert invalid == ()


@pytest.mark.parametrize("field", ["InputPath", "ResultPath", "OutputPath", "TimeoutSeconds", "Retry", "Catch"])
def test_step_functions_what_a_state_has_by_itself_makes_a_workflow_of_it(field: str) -> None:
    given = {
        "TimeoutSeconds": 5, "Retry": [{"ErrorEquals": ["States.ALL"]}], "Catch": [{"ErrorEquals": ["E"], "Next": "x"}],
    }.get(field, "$.a")  # fmt: skip
    one = {"StartAt": "x", "States": {"x": {**LAMBDA, field: given}}}
    each = {"Type": "Map", "ItemsPath": "$.all", "ItemProcessor": one, "End": True}
    (main, child), _ = all_of("step-functions", {"Comment": "m", "StartAt": "each", "States": {"each": each}})
    assert bodies(main, "each") == ["subworkflow"]
    if field == "TimeoutSeconds":
        assert node(child, "x")["policy"]["timeout_ms"] == 5_000


def test_step_functions_a_map_of_several_states_in_a_map_keeps_its_runs() -> None:
    two = {"x": {**{k: v for k, v in LAMBDA.items() if k != "End"}, "Next": "y"}, "y": LAMBDA}
    definitions, invalid = all_of("step-functions", states(two))
    assert [made["name"] for made in definitions] == ["m", "m_rows", "m_rows_cells"]
    assert bodies(definitions[0], "rows") == ["subworkflow"]
    assert invalid == ()


def test_serverless_loops_in_loops() -> None:
    inner = {"for": {"each": "b", "in": "$a.list"}, "do": [{"call": {"call": "f", "with": {"a": "$a.id", "b": "$b"}}}]}
    outer = {"for": {"each": "a", "in": ".rows"}, "do": [{"inner": inner}]}
    source = {"document": {"dsl": "1.0.0", "name": "w"}, "do": [{"outer": outer}]}
    made, remarks = imported("serverless-workflow", source)
    config = node(made, "outer")["config"]["body"]["config"]
    assert (config["over"], config["body"]["config"]["tool_args"]) == (
        "{{item.list}}",
        {"a": "{{item.id}}", "b": "{{item_2}}"},
    )
    assert sum("the loop's output is the list" in remark for remark in remarks) == 2, "one for each loop"
    outer["do"][0]["inner"] = {**inner, "timeout": {"after": {"seconds": 1}}}
    (main, child), invalid = all_of("serverless-workflow", source)
    assert (bodies(main, "outer"), node(child, "inner")["policy"]) == (["subworkflow"], {"total_timeout_ms": 1_000})
    assert invalid == ()


def test_conductor_loops_and_forks_in_loops() -> None:
    paint = simple(
        "paint", cell="${inner.output.loopItem.id}", row="${outer.output.loopItem}", at="${inner.output.loopIndex}"
    )
    inner = task_of("inner", "DO_WHILE") | {
        "items": "${outer.output.loopItem.cells}",
        "loopOver": [paint | {"optional": True}],
    }
    outer = task_of("outer", "DO_WHILE") | {"items": "${workflow.input.rows}", "loopOver": [inner]}
    made, _ = imported("conductor", conductor(outer))
    config = node(made, "outer")["config"]["body"]["config"]
    assert config["on_item_failure"] == "continue"
    assert config["body"]["config"]["tool_args"] == {"cell": "{{item_2.id}}", "row": "{{item}}", "at": "{{index_2}}"}
    fork = task_of("f", "FORK_JOIN_DYNAMIC", forkTaskWorkflow="w2", forkTaskInputs="${outer.output.loopItem}")
    made, _ = imported("conductor", conductor(outer | {"loopOver": [fork, task_of("j", "JOIN")]}))
    assert node(made, "outer")["config"]["body"]["config"] == {
        "over": "{{item}}", "item": "item_2", "index": "index_2",
        "body": {"type": "subworkflow", "config": {"workflow": "w2", "inputs": {"input": "{{item_2}}"}}},
    }  # fmt: skip
    made, remarks = imported("conductor", conductor(outer | {"loopOver": [simple("a"), simple("b")]}))
    assert bodies(made, "outer") == ["subworkflow"]
    assert "a loop over items with several tasks is not carried over" in remarks


def test_argo_several_locks() -> None:
    both = {"mutexes": [{"name": "a-{{workflow.parameters.who}}"}, {"name": "b"}]}
    size = {"semaphore": {"configMapKeyRef": {"name": "c", "key": "many"}}}
    alone = {"name": "alone", "synchronization": {**both, **size}, "container": {"image": "i"}}
    arguments = {"parameters": [{"name": "who", "value": "ann"}]}
    steps = ({"name": "x", "template": "alone"}, {"name": "y", "template": "do"})
    made, remarks = imported("argo", argo(*steps, templates=[alone], arguments=arguments, synchronization=both))
    assert made["run_lane"] == {"key": "a-{{who}}", "limit": 1}
    assert node(made, "x")["lane"] == "many-{{org}}"
    assert made["lock"] == [
        {"key": "b", "nodes": ["x", "y"]}, {"key": "a-{{who}}", "nodes": ["x"]},
    ]  # fmt: skip
    assert "the semaphore's size stands in the cluster" in remarks


def test_argo_the_same_lock_of_runs_and_of_steps_has_a_remark() -> None:
    lock = {"synchronization": {"mutex": {"name": "db"}}}
    alone = {"name": "alone", **lock, "container": {"image": "i"}}
    inner = {"name": "inner", **lock, "steps": [[{"name": "x", "template": "do"}]]}
    calls = ({"name": "a", "template": "alone"}, {"name": "b", "template": "inner"})
    _, remarks = imported("argo", argo(*calls, templates=[alone, inner]))
    assert "'db' is a run lane and a lane of steps here, which don't keep each other out" in remarks
