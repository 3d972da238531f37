"""Names that are nearly the same in another engine stay apart: none takes the place of another one."""

from __future__ import annotations

import json

import pytest
import yaml

from agentctl.importers.convert import convert
from agentctl.importers.flow import name_of
from agentflow_common.errors import InvalidError
from tests.support.imports import argo, conductor, imported, node, simple


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


@pytest.mark.parametrize(
    "function",
    [
        "validate-order",
        "validate-order:PROD",
        "123456789012:function:validate-order",
        "arn:aws:lambda:us-east-1:123456789012:function:validate-order",
        "arn:aws:lambda:us-east-1:123456789012:function:validate-order:$LATEST",
        "arn:aws:lambda:us-east-1:123456789012:function:validate-order:12",
    ],
)
def test_step_functions_a_function_is_named_without_its_version_and_alias(function: str) -> None:
    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True,
            "Parameters": {"FunctionName": function, "Payload": {"item.$": "$.a", "index": 1, "from": 2}}}  # fmt: skip
    made, _ = imported("step-functions", {"StartAt": "A", "States": {"A": task}})
    assert node(made, "A")["config"]["tool_name"] == "validate_order"
    assert set(node(made, "A")["config"]["tool_args"]) == {"item", "index", "from_step"}  # a parameter can't be `from`


def test_step_functions_a_started_machine_is_named_by_its_arn() -> None:
    arn = "arn:aws:states:us-east-1:123456789012:stateMachine:Ship:3"
    task = {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2", "End": True,
            "Parameters": {"StateMachineArn": arn, "Input": {"index": 1}}}  # fmt: skip
    made, _ = imported("step-functions", {"StartAt": "A", "States": {"A": task}})
    assert node(made, "A")["config"] == {"workflow": "Ship", "inputs": {"index_step": 1}}  # an input of a workflow


def test_arguments_of_tools_keep_their_names_although_nodes_may_not_have_them() -> None:
    made, _ = imported("conductor", conductor(simple("a", item="1", state="2", workflow="3", loop="4")))
    assert set(node(made, "a")["config"]["tool_args"]) == {"item", "state", "workflow", "loop"}
    template = {"name": "t", "inputs": {"parameters": [{"name": "index"}]}, "container": {"image": "i"}}
    step = {"name": "a", "template": "t", "arguments": {"parameters": [{"name": "index", "value": "1"}]}}
    made, _ = imported("argo", argo(step, templates=[template]))
    assert node(made, "a")["config"]["tool_args"] == {"index": "1"}


def test_serverless_an_expression_inside_a_text_is_remarked() -> None:
    call = {"call": "http", "with": {"method": "get", "endpoint": "https://a.example/pets/${ .id }"}}
    text = {"set": {"a": "Hello ${ .name }", "b": "${ .name }"}}
    made, remarks = imported("serverless-workflow", {"document": {"name": "w"}, "do": [{"get": call}, {"put": text}]})
    assert node(made, "get")["config"]["tool_args"]["url"] == "https://a.example/pets/${ .id }"
    assert [remark for remark in remarks if "inside a text" in remark] == [
        "'${ }' inside a text is not an expression, and stays as it is"
    ] * 2
