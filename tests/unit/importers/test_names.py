"""Names that are nearly the same in another engine stay apart: none takes the place of another one."""

from __future__ import annotations

import json

import pytest
import yaml

from agentctl.importers.convert import convert
from agentctl.importers.flow import name_of
from agentflow_common.errors import InvalidError
from tests.support.imports import argo, conductor, imported, node


def test_long_names_that_differ_at_their_end_stay_apart() -> None:
    first, second = name_of("a" * 70 + "_first"), name_of("a" * 70 + "_second")
    assert first != second
    assert len(first) == 56
    assert name_of(first) == first


def test_argo_templates_whose_names_differ_only_in_signs_are_definitions_of_their_own() -> None:
    names = ("my-sub", "my_sub", "my.sub")
    inner = [
        {"name": name, "steps": [[{"name": f"in{number}", "template": "do"}]]} for number, name in enumerate(names)
    ]
    steps = [{"name": f"s{number}", "template": name} for number, name in enumerate(names)]
    made = convert(json.dumps(argo(*steps, steps[0] | {"name": "again"}, templates=inner)), "argo")
    main, *others = [yaml.safe_load(written.text) for written in made.definitions]
    assert [other["name"] for other in others] == ["w_my_sub", "w_my_sub_2", "w_my_sub_3"]
    assert [other["dag"]["nodes"][0]["id"] for other in others] == ["in0", "in1", "in2"]
    called = {step["id"]: step["config"]["workflow"] for step in main["dag"]["nodes"]}
    assert called == {"s0": "w_my_sub", "s1": "w_my_sub_2", "s2": "w_my_sub_3", "again": "w_my_sub"}


def test_conductor_two_inner_definitions_of_one_name_are_refused_unless_they_are_the_same() -> None:
    def inner(reference: str, task: str) -> dict[str, object]:
        tasks = [{"name": task, "taskReferenceName": task, "type": "SIMPLE", "inputParameters": {}}]
        param = {"name": "child", "workflowDefinition": {"name": "child", "tasks": tasks}}
        return {"name": reference, "taskReferenceName": reference, "type": "SUB_WORKFLOW", "subWorkflowParam": param}

    made = convert(json.dumps(conductor(inner("one", "a"), inner("two", "a"))), "conductor")
    assert [written.name for written in made.definitions] == ["w", "child"]
    with pytest.raises(InvalidError, match="two definitions would have the name 'child'"):
        convert(json.dumps(conductor(inner("one", "a"), inner("two", "b"))), "conductor")


def test_serverless_a_loop_whose_name_is_taken_is_read_by_its_own_id() -> None:
    loop = {"for": {"each": "x", "in": "${ .list }"}, "do": [{"call": {"call": "f", "with": {"x": "${ $x }"}}}]}
    say = {"set": {"found": "${ . }"}}
    made, _ = imported(
        "serverless-workflow",
        {"document": {"name": "w", "dsl": "1.0.0"}, "do": [{"my-loop": loop}, {"my_loop": loop}, {"say": say}]},
    )
    assert "my_loop_2" in json.dumps(node(made, "say"))


def test_argo_a_template_without_a_name_is_a_definition_of_its_own() -> None:
    nameless = {"steps": [[{"name": "one", "template": "do"}]]}
    made = convert(json.dumps(argo({"name": "step"}, templates=[nameless])), "argo")
    assert [written.name for written in made.definitions] == ["w", "w_step"]
