"""Single constructs of each engine become these nodes, edges and remarks."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from agentctl.importers.convert import convert
from tests.support.imports import app, argo, conductor, imported, n8n, node, simple, task_of


def test_argo_counts_and_retries() -> None:
    step = {"name": "many", "template": "do", "withSequence": {"start": "5", "end": "3", "format": "n%02d"}}
    made, _ = imported("argo", argo(step))
    assert node(made, "many")["config"]["over"] == ["n05", "n04", "n03"]
    retry = {"name": "again", "container": {"image": "i"}, "retryStrategy": {"limit": 2}}
    made, _ = imported("argo", argo({"name": "a", "template": "again"}, templates=[retry]))
    wanted = {"max_attempts": 3, "backoff": "fixed", "initial_ms": 0, "jitter": 0}
    assert node(made, "a")["policy"] == {"retry": wanted}


def test_argo_sequences_with_computed_bounds_and_conditions_of_items() -> None:
    step = {"name": "many", "template": "do", "withSequence": {"start": "2", "count": "{{workflow.parameters.n}}"}}
    arguments = {"parameters": [{"name": "n", "value": "3"}]}
    made, _ = imported("argo", argo(step, arguments=arguments))
    assert node(made, "many")["config"]["range"] == {"start": 2, "stop": "{{2 + (n | int)}}"}
    step = {"name": "even", "template": "do", "withItems": [{"n": 1}], "when": "{{item.n}} == 2"}
    made, remarks = imported("argo", argo(step))
    assert node(made, "even")["config"]["item_condition"] == 'string(item.n) == "2"'
    assert not any("condition" in remark for remark in remarks)


@pytest.mark.parametrize(
    ("when", "condition"),
    [
        ("{{steps.a.outputs.result}} == heads", 'a.output.result == "heads"'),
        ("'{{steps.a.outputs.result}}' != ''", 'a.output.result != ""'),
        ("{{steps.a.outputs.result}} > 5", "double(a.output.result) > 5.0"),
        ("{{steps.a.outputs.result}} == true", 'string(a.output.result) == "true"'),
        ("{{steps.a.status}} == Failed", 'a.status == "failed"'),
        ("{{= steps.a.outputs.parameters.n == '1' }}", 'a.output.n == "1"'),
        ("{{steps.a.outputs.result}} == x || {{steps.a.outputs.result}} == y",
         '(a.output.result == "x") || (a.output.result == "y")'),
    ],
)  # fmt: skip
def test_argo_conditions(when: str, condition: str) -> None:
    made, _ = imported("argo", argo({"name": "a", "template": "do"}, {"name": "b", "template": "do", "when": when}))
    assert made["dag"]["edges"][0] == {"from": "a", "to": "b", "condition": condition}


def test_argo_suspends_for_a_time_for_people_and_for_values() -> None:
    supplied = {"parameters": [{"name": "m", "valueFrom": {"supplied": {}}}]}
    templates = [{"name": "wait", "suspend": {"duration": "1m30s"}}, {"name": "ask", "suspend": {}},
                 {"name": "get", "suspend": {}, "outputs": supplied}]  # fmt: skip
    steps = [{"name": name, "template": name} for name in ("wait", "ask", "get")]
    made, remarks = imported("argo", argo(*steps, templates=templates))
    assert [(found["type"], found["config"]) for found in made["dag"]["nodes"]] == [
        ("wait", {"duration": 90_000}), ("approval", {"message": "Go on with ask?"}), ("signal", {"signal": "get"}),
    ]  # fmt: skip
    assert remarks == ["the supplied values come as a signal"]


def test_argo_recursion_is_a_subworkflow_that_starts_itself() -> None:
    again = {"name": "b", "template": "main", "when": "{{steps.a.outputs.result}} == again"}
    made = convert(json.dumps(argo({"name": "a", "template": "do"}, again)), "argo")
    assert [written.name for written in made.definitions] == ["w", "w_main"]
    assert made.invalid == ()


def test_argo_locks_of_a_workflow_are_a_run_lane() -> None:
    made, remarks = imported("argo", argo({"name": "a", "template": "do"}, synchronization={"mutex": {"name": "db"}}))
    assert made["run_lane"] == {"key": "db", "limit": 1}
    assert remarks == ["the container of the image i is not carried over: a step calls a Python function"]


def test_conductor_variables_have_the_value_that_was_set_last() -> None:
    def put(name: str, value: Any) -> dict[str, Any]:
        return {"name": name, "taskReferenceName": name, "type": "SET_VARIABLE", "inputParameters": {"v": value}}

    use = simple("use", v="${workflow.variables.v}", all="x ${workflow.variables.v}")
    made, _ = imported("conductor", conductor(put("one", 1), put("two", 2), use))
    assert node(made, "use")["config"]["tool_args"] == {"v": "two.output.v", "all": "x {{two.output.v}}"}


@pytest.mark.parametrize(
    ("condition", "edge"),
    [
        ("if ($.l['iteration'] < 3) { true; } else { false; }", {"condition": "true", "max_iterations": 2}),
        ("$.l.iteration <= 3 && $.a.more", {"condition": "a.output.more", "max_iterations": 3}),
        ("(function () { if ($.a['ok'] == true) { return false; } return true; })();", None),
        ("if ($.a['ok'] == true) { false; } else { true; }",
         {"condition": "!(a.output.ok == true)", "max_iterations": 1000}),
        ("if ($.l['iteration'] < 1) { true; } else { false; }", {}),
    ],
)  # fmt: skip
def test_conductor_loops(condition: str, edge: dict[str, Any] | None) -> None:
    loop = {"name": "l", "taskReferenceName": "l", "type": "DO_WHILE", "loopCondition": condition,
            "loopOver": [simple("a")]}  # fmt: skip
    made, remarks = imported("conductor", conductor(loop))
    found = [
        {name: item for name, item in link.items() if name not in {"from", "to"}}
        for link in made["dag"].get("edges", [])
    ]
    if edge is None:
        edge = {"condition": "!(a.output.ok == true)", "max_iterations": 1000}
    assert found == ([edge] if edge else [])
    assert any("bound" in remark for remark in remarks) == (edge.get("max_iterations") == 1000)


def test_conductor_code_that_is_not_translated_is_a_function_of_ones_own() -> None:
    task = {"name": "c", "taskReferenceName": "c", "type": "INLINE", "inputParameters": {
        "n": "${workflow.input.n}", "evaluatorType": "javascript", "expression": "for (;;) {}"}}  # fmt: skip
    made, (remark,) = imported("conductor", conductor(task))
    assert node(made, "c")["config"] == {"function_name": "c", "function_args": {"n": "{{n}}"}}
    assert remark.startswith("this JavaScript is not translated: ")


def test_conductor_polls_are_loops() -> None:
    request = {"uri": "https://x.example", "terminationCondition": "$.output.response.body.state == 'DONE'",
               "pollingInterval": 5, "maxPollCount": 60}  # fmt: skip
    made, _ = imported("conductor", conductor(task_of("p", "HTTP_POLL", http_request=request),
                                              simple("u", s="${p.output.response.body.state}")))  # fmt: skip
    assert node(made, "p")["config"] == {
        "body": {"type": "tool", "config": {"tool_name": "http.get", "tool_args": {"url": "https://x.example"}}},
        "until": 'previous.json.state == "DONE"', "delay_ms": 5_000, "max_iterations": 60, "on_max": "fail",
    }  # fmt: skip
    assert node(made, "u")["config"]["tool_args"] == {"s": "p.output.json.state"}


def test_conductor_dynamic_forks_are_maps_and_exclusive_joins_take_the_branch_that_ran() -> None:
    fork = task_of("f", "FORK_JOIN_DYNAMIC", forkTaskName="resize", forkTaskInputs="${workflow.input.all}")
    made, _ = imported("conductor", conductor(fork))
    body = {"type": "tool", "config": {"tool_name": "resize", "tool_args": {"input": "{{item}}"}}}
    assert node(made, "f")["config"] == {"over": "{{all}}", "body": body}
    join = {**task_of("j", "EXCLUSIVE_JOIN"), "joinOn": ["a", "b"]}
    made, _ = imported("conductor", conductor(simple("a"), simple("b"), join, simple("c", x="${j.output.n}")))
    assert node(made, "c")["config"]["tool_args"] == {"x": "{{b.output.n if b.output.n is not none else a.output.n}}"}


def test_conductor_ends_and_waits() -> None:
    waits = [task_of("w", "WAIT", duration="1 hours 5s"), task_of("h", "HUMAN")]
    end = task_of("t", "TERMINATE", terminationStatus="COMPLETED", workflowOutput={"x": "${h.output.x}"})
    made, _ = imported("conductor", conductor(*waits, end))
    assert node(made, "w")["config"] == {"duration": 3_605_000}
    assert node(made, "h") == {"id": "h", "type": "signal", "config": {"signal": "h"}}
    assert node(made, "t")["config"] == {"status": "completed", "output": {"x": "h.output.x"}}


def states(start: str, **found: Any) -> dict[str, Any]:
    return {"Comment": "m", "StartAt": start, "States": found}


LAMBDA = {"Type": "Task", "Resource": "arn:aws:lambda:eu:1:function:f"}


@pytest.mark.parametrize(
    ("rule", "condition"),
    [
        ({"Variable": "$.n", "NumericGreaterThan": 3}, "a.output.n > 3"),
        ({"Variable": "$.n", "StringEqualsPath": "$.m"}, "a.output.n == a.output.m"),
        ({"Variable": "$.n", "IsPresent": True}, "has(a.output.n)"),
        ({"Variable": "$.n", "IsNull": False}, "a.output.n != null"),
        ({"Variable": "$.n", "StringMatches": "log-*.txt"}, 'a.output.n.matches("^log\\\\-.*\\\\.txt$")'),
        ({"Not": {"Variable": "$.n", "BooleanEquals": True}}, "!(a.output.n == true)"),
        ({"And": [{"Variable": "$.n", "IsPresent": True}, {"Or": [{"Variable": "$.n", "StringEquals": "x"},
                                                                  {"Variable": "$.n", "StringEquals": "y"}]}]},
         'has(a.output.n) && ((a.output.n == "x") || (a.output.n == "y"))'),
        ({"Condition": "{% $states.input.n > 3 and $exists($states.input.m) %}"},
         "(a.output.n > 3) && has(a.output.m)"),
    ],
)  # fmt: skip
def test_step_functions_rules(rule: dict[str, Any], condition: str) -> None:
    choice = {"Type": "Choice", "Choices": [{**rule, "Next": "b"}], "Default": "c"}
    made, _ = imported(
        "step-functions",
        states("a", a={**LAMBDA, "Next": "d"}, d=choice, b={**LAMBDA, "End": True}, c={"Type": "Succeed"}),
    )
    assert made["dag"]["edges"] == [{"from": "a", "to": "b", "condition": condition}]


def test_step_functions_jsonata_variables_and_outputs() -> None:
    first = {**LAMBDA, "Arguments": {"x": "{% $states.input.n + 1 %}"}, "Assign": {"big": "{% $states.result.max %}"},
             "Output": {"kept": "{% $states.result.id %}"}, "Next": "b"}  # fmt: skip
    last = {**LAMBDA, "Arguments": {"id": "{% $states.input.kept %}", "big": "{% $big %}"}, "End": True}
    made, _ = imported("step-functions", {**states("a", a=first, b=last), "QueryLanguage": "JSONata"})
    assert node(made, "a")["config"]["tool_args"] == {"x": "{{inputs.n + 1}}"}
    assert node(made, "b")["config"]["tool_args"] == {"id": "a.output.id", "big": "a.output.max"}
    assert made["outputs"] == {"result": "b.output"}


def test_step_functions_intrinsics_and_context() -> None:
    given = {"text.$": "States.Format('Job {} of {}', $.n, $$.Execution.Id)", "size.$": "States.ArrayLength($.items)",
             "list.$": "States.Array($.a, 'b')", "sum.$": "States.MathAdd($.n, 1)", "plain": "$.n"}  # fmt: skip
    made, _ = imported("step-functions", states("a", a={**LAMBDA, "Parameters": given, "End": True}))
    assert node(made, "a")["config"]["tool_args"] == {
        "text": "Job {{inputs.n}} of {{run}}", "size": "{{inputs.items | length}}",
        "list": ["{{inputs.a}}", "b"], "sum": "{{inputs.n + 1}}", "plain": "$.n",
    }  # fmt: skip


def test_step_functions_what_a_loop_carries_is_read_from_the_round_before() -> None:
    count = {**LAMBDA, "InputPath": "$.counter", "ResultPath": "$.counter", "Next": "more"}
    more = {"Type": "Choice", "Choices": [{"Variable": "$.counter.go", "BooleanEquals": True, "Next": "count"}],
            "Default": "end"}  # fmt: skip
    made, _ = imported("step-functions", states("count", count=count, more=more, end={"Type": "Succeed"}))
    assert node(made, "count")["config"]["tool_args"] == {
        "input": "{{count.output if count.output is not none else inputs.counter}}"
    }
    assert made["dag"]["edges"] == [
        {"from": "count", "to": "count", "condition": "count.output.go == true", "max_iterations": 1000}
    ]


def test_step_functions_a_map_of_several_states_is_a_subworkflow() -> None:
    inner = states("x", x={**LAMBDA, "Next": "y"}, y={"Type": "Pass", "Parameters": {"id.$": "$.id"}, "End": True})
    each = {"Type": "Map", "ItemsPath": "$.all", "ItemProcessor": inner, "ToleratedFailurePercentage": 20, "End": True}
    made = convert(json.dumps(states("each", each=each)), "step-functions")
    main, child = (yaml.safe_load(written.text) for written in made.definitions)
    body = {"type": "subworkflow", "config": {"workflow": "m_each", "inputs": {"value": "{{item}}"}}}
    assert node(main, "each")["config"] == {
        "over": "{{inputs.all}}", "body": body, "on_item_failure": "continue", "max_failures": 0.2,
    }  # fmt: skip
    assert child["outputs"] == {"id": "y.output.id"}
    assert made.invalid == ()


def tasks(*items: Any, **more: Any) -> dict[str, Any]:
    return {"document": {"dsl": "1.0.0", "name": "w"}, "do": list(items), **more}


def test_serverless_a_task_with_a_condition_and_one_that_ends_the_workflow() -> None:
    young = {"if": ".age < 18", "raise": {"error": {"type": "https://x/forbidden", "status": 403, "title": "no"}}}
    made, _ = imported("serverless-workflow", tasks({"check": young}, {"bet": {"set": {"ok": True}}}))
    assert node(made, "check")["condition"] == "inputs.age < 18"
    assert node(made, "check")["config"] == {"status": "failed", "error": {"type": "forbidden", "message": "no"}}
    assert node(made, "bet")["condition"] == "!(inputs.age < 18)"


def test_serverless_retries_and_loops() -> None:
    call = {"call": "http", "with": {"method": "get", "endpoint": "https://x.example/{id}"}}
    again = {"errors": {"with": {"status": 503}}, "retry": {"delay": {"seconds": 1}, "backoff": {"linear": {}},
             "limit": {"attempt": {"count": 2}}}}  # fmt: skip
    made, _ = imported("serverless-workflow", tasks({"t": {"try": [{"get": call}], "catch": again}}))
    assert node(made, "get")["policy"]["retry"] == {
        "max_attempts": 3, "backoff": "linear", "initial_ms": 1000, "max_ms": 86400000, "jitter": 0, "on": ["http_503"],
    }  # fmt: skip
    loop = {"for": {"each": "pet", "in": ".pets"}, "do": [{"get": {**call, "with": {
        "method": "get", "endpoint": '${ "https://x.example/\\($pet.id)" }'}}}]}  # fmt: skip
    made, _ = imported("serverless-workflow", tasks({"each": loop}))
    assert node(made, "each")["config"] == {
        "over": "{{inputs.pets}}", "concurrency": 1,
        "body": {"type": "tool", "config": {"tool_name": "http.get", "tool_args": {"url": "https://x.example/{{item.id}}"}}},
    }  # fmt: skip


def test_serverless_races_of_branches_and_events() -> None:
    branches = [{"a": {"set": {"x": 1}}}, {"b": {"wait": {"seconds": 1}}}]
    made, _ = imported("serverless-workflow", tasks({"f": {"fork": {"compete": True, "branches": branches}}}))
    race = {"id": "first_of_f", "name": "first of f", "type": "wait", "join": "any", "config": {"duration": 0}}
    assert node(made, "first_of_f") == race
    assert [(edge["from"], edge["to"]) for edge in made["dag"]["edges"]] == [("a", "first_of_f"), ("b", "first_of_f")]
    events = [{"with": {"type": "com.x.hot"}}, {"with": {"type": "com.x.cold"}}]
    made, _ = imported("serverless-workflow", tasks({"l": {"listen": {"to": {"any": events}}}}))
    assert [(found["id"], found["type"]) for found in made["dag"]["nodes"]] == [
        ("first_of_l", "wait"), ("l_1", "signal"), ("l_2", "signal"),
    ]  # fmt: skip
    assert made["outputs"] == {"result": ["{{l_1.output if l_1.output is not none else l_2.output}}"]}


def test_serverless_rules_of_inputs() -> None:
    schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer", "minimum": 1}, "x": {}}}
    given = {"input": {"schema": {"format": "json", "document": schema}}}
    made, remarks = imported("serverless-workflow", tasks({"a": {"set": {"x": "${ .id }"}}}, **given))
    assert made["inputs"] == {"id": {"type": "integer", "minimum": 1}, "x": {"type": "any", "required": False}}
    assert remarks == []


def test_step_functions_a_long_row_of_choices_stays_short() -> None:
    row: dict[str, Any] = {"c30": {"Type": "Succeed"}}
    for number in range(30):
        after = f"c{number + 1}"
        rule = {"Variable": f"$.v{number}", "NumericEquals": 1, "Next": f"t{number}"}
        row[f"c{number}"] = {"Type": "Choice", "Choices": [rule], "Default": after}
        row[f"t{number}"] = {**LAMBDA, "ResultPath": "$.x", "Next": after}
    made, _ = imported("step-functions", states("c0", **row))
    assert max(len(edge.get("condition", "")) for edge in made["dag"]["edges"]) < 400
    assert len(json.dumps(made)) < 30_000
    gathered = [found for found in made["dag"]["nodes"] if found["config"].get("function_name") == "pick"]
    assert gathered
    assert set(gathered[0]["config"]["function_args"]["value"]) == {"part_0"}


def test_step_functions_batches() -> None:
    one = states("x", x={**LAMBDA, "End": True})
    each = {"Type": "Map", "ItemsPath": "$.all", "ItemProcessor": one, "End": True}
    made, remarks = imported("step-functions", states("e", e={**each, "ItemBatcher": {"MaxItemsPerBatch": 10}}))
    assert node(made, "e")["config"]["batches"] == 10
    assert "a batch is a list here, without `Items` around it" in remarks


def test_serverless_jumps() -> None:
    made, _ = imported("serverless-workflow", tasks(
        {"a": {"set": {"n": 1}, "then": "c"}}, {"b": {"set": {"n": 2}, "then": "end"}},
        {"c": {"switch": [{"low": {"when": ".n < 2", "then": "b"}}, {"high": {"then": "exit"}}]}}))  # fmt: skip
    assert made["dag"]["edges"] == [{"from": "a", "to": "b", "condition": "a.output.n < 2"}]
    again = {"switch": [{"low": {"when": ".n < 9", "then": "a"}}]}
    made, _ = imported("serverless-workflow", tasks({"a": {"set": {"n": "${ .n + 1 }"}}}, {"c": again}))
    assert node(made, "a")["config"]["function_args"] == {
        "value": {"n": "{{(a.output.n if a.output.n is not none else inputs.n) + 1}}"}
    }


def test_n8n_errors_have_a_way_of_their_own() -> None:
    call = {**app("a", "httpRequest", url="https://x.example"), "onError": "continueErrorOutput"}
    made, _ = imported("n8n", n8n([app("s", "manualTrigger"), call, app("b", "noOp"), app("c", "code")],
                                  s=[["a"]], a=[["b"], ["c"]]))  # fmt: skip
    assert node(made, "a")["policy"] == {"retry": {"max_attempts": 1}, "on_failure": "continue"}
    assert node(made, "c")["config"]["function_args"] == {"error": "a.error.message"}
    assert made["dag"]["edges"] == [{"from": "a", "to": "c", "condition": 'a.status == "failed"'}]


def test_n8n_switch_waits_and_items() -> None:
    test = {"leftValue": "={{ $json.n }}", "rightValue": 1, "operator": {"type": "number", "operation": "gt"}}
    rules = {"values": [{"conditions": {"combinator": "or", "conditions": [test]}}]}
    choice = app("x", "switch", rules=rules, fallbackOutput=1)
    wait = app("w", "wait", amount=5, unit="minutes")
    nodes = [app("s", "manualTrigger"), choice, wait, app("l", "splitInBatches"), app("d", "code")]
    made, remarks = imported("n8n", n8n(nodes, s=[["x"]], x=[["w"], ["l"]], l=[[], ["d"]], d=[["l"]]))
    assert node(made, "w") == {
        "id": "w", "type": "wait", "condition": "inputs.n > 1", "config": {"duration": 300_000},
    }  # fmt: skip
    assert node(made, "d")["condition"] == "!(inputs.n > 1)"
    assert "'l' works on a list of items; here the steps behind it run once" in remarks
