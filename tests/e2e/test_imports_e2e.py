"""Definitions that `agentctl workflow import` wrote run, and give what they give in their own engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Platform

pytestmark = pytest.mark.e2e

ARGO = """
kind: Workflow
metadata: {name: argo-imported}
spec:
  entrypoint: main
  arguments: {parameters: [{name: names, value: '["ann", "bo"]'}]}
  templates:
    - name: main
      steps:
        - - {name: flip, template: print-message, arguments: {parameters: [{name: message, value: heads}]}}
        - - {name: heads, template: hello, when: "{{steps.flip.outputs.result}} == heads",
             arguments: {parameters: [{name: greeting, value: Hello}]}}
          - {name: tails, template: print-message, when: "{{steps.flip.outputs.result}} == tails",
             arguments: {parameters: [{name: message, value: tails}]}}
      outputs: {parameters: [{name: said, valueFrom: {parameter: "{{steps.heads.outputs.parameters.all}}"}}]}
    - name: hello
      inputs: {parameters: [{name: greeting}]}
      steps:
        - - name: each
            template: print-message
            arguments: {parameters: [{name: message, value: "{{inputs.parameters.greeting}} {{item}}"}]}
            withParam: "{{workflow.parameters.names}}"
      outputs: {parameters: [{name: all, valueFrom: {parameter: "{{steps.each.outputs.result}}"}}]}
    - name: print-message
      inputs: {parameters: [{name: message}]}
      container: {image: busybox, command: [echo, "{{inputs.parameters.message}}"]}
"""
CONDUCTOR = """
{"name": "conductor_imported", "inputParameters": ["n"], "tasks": [
  {"name": "add_numbers", "taskReferenceName": "add", "type": "DO_WHILE",
   "loopCondition": "if ($.add['iteration'] < 5 && $.one['sum'] < 12) { true; } else { false; }", "loopOver": [
     {"name": "add_numbers", "taskReferenceName": "one", "type": "SIMPLE",
      "inputParameters": {"a": "${workflow.input.n}", "b": 2}}]},
  {"name": "route", "taskReferenceName": "route", "type": "SWITCH", "evaluatorType": "javascript",
   "expression": "$.sum > 10 ? 'big' : 'small'", "inputParameters": {"sum": "${one.output.sum}"},
   "decisionCases": {"big": [{"name": "print_message", "taskReferenceName": "big", "type": "SIMPLE",
     "inputParameters": {"message": "${one.output.sum} is big"}}]},
   "defaultCase": [{"name": "print_message", "taskReferenceName": "small", "type": "SIMPLE",
     "inputParameters": {"message": "small"}}]}],
 "outputParameters": {"said": "${big.output.result}", "other": "${small.output.result}"}}
"""
N8N = """
{"name": "n8n_imported", "nodes": [
  {"name": "Start", "type": "n8n-nodes-base.manualTrigger", "parameters": {}},
  {"name": "Old?", "type": "n8n-nodes-base.if", "parameters": {"conditions": {"combinator": "and", "conditions": [
    {"leftValue": "={{ $json.age }}", "rightValue": 18, "operator": {"type": "number", "operation": "gte"}}]}}},
  {"name": "Yes", "type": "n8n-nodes-base.set", "parameters": {"assignments": {"assignments": [
    {"name": "said", "value": "=Welcome {{ $json.name }}", "type": "string"}]}}},
  {"name": "No", "type": "n8n-nodes-base.set", "parameters": {"assignments": {"assignments": [
    {"name": "said", "value": "no", "type": "string"}]}}}],
 "connections": {"Start": {"main": [[{"node": "Old?"}]]}, "Old?": {"main": [[{"node": "Yes"}], [{"node": "No"}]]}}}
"""
SERVERLESS = """
document: {dsl: 1.0.3, namespace: test, name: serverless-imported, version: 0.1.0}
do:
  - count: {set: {n: "${ .n + 1 }"}}
  - more:
      switch:
        - low: {when: .n < 4, then: count}
        - high: {then: say}
  - say: {set: {said: '${ "counted to \\(.n)" }'}}
"""
STEP_FUNCTIONS = """
{"Comment": "sfn_imported", "StartAt": "Add", "States": {
  "Add": {"Type": "Task", "Resource": "arn:aws:lambda:eu-1:1:function:add_numbers",
    "Parameters": {"a.$": "$.total.sum", "b.$": "$.step"}, "ResultPath": "$.total", "Next": "Enough?"},
  "Enough?": {"Type": "Choice", "Choices": [{"Variable": "$.total.sum", "NumericLessThan": 6, "Next": "Add"}],
    "Default": "Both"},
  "Both": {"Type": "Parallel", "End": true, "Branches": [
    {"StartAt": "Left", "States": {"Left": {"Type": "Pass", "Parameters": {"sum.$": "$.total.sum"}, "End": true}}},
    {"StartAt": "Right", "States": {"Right": {"Type": "Task", "End": true,
      "Resource": "arn:aws:lambda:eu-1:1:function:print_message", "Parameters": {"message": "done"}}}}]}}}
"""
ARGO_NESTED = """
kind: Workflow
metadata: {name: argo-nested}
spec:
  entrypoint: main
  synchronization: {mutexes: [{name: "rows-{{workflow.parameters.name}}"}, {name: paint}]}
  arguments:
    parameters:
      - {name: name, value: ann}
      - {name: rows, value: '[{"w": "a", "c": [1, 2]}, {"w": "b", "c": []}]'}
  templates:
    - name: main
      steps:
        - - name: each
            template: row
            arguments: {parameters: [{name: word, value: "{{item.w}}"}, {name: cells, value: "{{item.c}}"}]}
            withParam: "{{workflow.parameters.rows}}"
    - name: row
      inputs: {parameters: [{name: word}, {name: cells}]}
      steps:
        - - name: cell
            template: print-message
            arguments: {parameters: [{name: message, value: "{{inputs.parameters.word}}{{item}}"}]}
            withParam: "{{inputs.parameters.cells}}"
    - name: print-message
      inputs: {parameters: [{name: message}]}
      container: {image: busybox, command: [echo, "{{inputs.parameters.message}}"]}
"""
CONDUCTOR_NESTED = """
{"name": "conductor_nested", "inputParameters": ["rows"], "tasks": [
  {"name": "rows", "taskReferenceName": "rows", "type": "DO_WHILE", "items": "${workflow.input.rows}", "loopOver": [
    {"name": "cells", "taskReferenceName": "cells", "type": "DO_WHILE", "items": "${rows.output.loopItem.c}",
     "loopOver": [
      {"name": "print_message", "taskReferenceName": "say", "type": "SIMPLE", "inputParameters": {
        "message": "${rows.output.loopItem.w}${cells.output.loopItem} ${rows.output.loopIndex}"}}]}]}],
 "outputParameters": {"said": "${rows.output}"}}
"""
SERVERLESS_NESTED = """
document: {dsl: 1.0.3, namespace: test, name: serverless-nested, version: 0.1.0}
do:
  - rows:
      for: {each: row, in: .rows, at: number}
      do:
        - cells:
            for: {each: cell, in: $row.c}
            do:
              - say: {call: print_message, with: {message: '${ "\\($row.w)\\($cell) \\($number)" }'}}
"""
STEP_FUNCTIONS_NESTED = """
{"Comment": "sfn_nested", "StartAt": "Rows", "States": {"Rows": {"Type": "Map", "ItemsPath": "$.rows", "End": true,
  "ItemProcessor": {"StartAt": "Cells", "States": {"Cells": {"Type": "Map", "ItemsPath": "$.c", "End": true,
    "ItemSelector": {"message.$": "States.Format('{}{}', $.w, $$.Map.Item.Value)"},
    "ItemProcessor": {"StartAt": "Say", "States": {"Say": {"Type": "Task", "End": true,
      "Resource": "arn:aws:lambda:eu-1:1:function:print_message"}}}}}}}}}
"""
ROWS = {"rows": [{"w": "a", "c": [1, 2]}, {"w": "b", "c": []}]}
SAID = [[{"result": "a1"}, {"result": "a2"}], []]
NUMBERED = [[{"result": "a1 0"}, {"result": "a2 0"}], []]
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "argo": (ARGO, {}, {"said": ["Hello ann", "Hello bo"]}),
    "conductor": (CONDUCTOR, {"n": 9}, {"said": "11 is big", "other": None}),
    "n8n": (N8N, {"age": 20, "name": "Ann"}, {"said": "Welcome Ann"}),
    "serverless-workflow": (SERVERLESS, {"n": 1}, {"said": "counted to 4"}),
    "step-functions": (STEP_FUNCTIONS, {"total": {"sum": 0}, "step": 2}, {"result": [{"sum": 6}, {"result": "done"}]}),
    "argo nested": (ARGO_NESTED, {}, {"each": SAID}),
    "conductor nested": (CONDUCTOR_NESTED, ROWS, {"said": NUMBERED}),
    "serverless-workflow nested": (SERVERLESS_NESTED, ROWS, {"result": NUMBERED}),
    "step-functions nested": (STEP_FUNCTIONS_NESTED, ROWS, {"result": SAID}),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_an_imported_definition_runs(platform: Platform, tmp_path: Path, case: str) -> None:
    text, inputs, output = CASES[case]
    engine = case.split(maxsplit=1)[0]
    (tmp_path / "theirs").write_text(text)
    done = platform.cli(
        "workflow", "import", str(tmp_path / "theirs"), "--from", engine, "--to", str(tmp_path / "ours.yaml")
    )
    assert done.returncode == 0, done.stderr
    with platform.client() as client:
        for path in sorted(tmp_path.glob("*.yaml"), key=lambda path: path.name == "ours.yaml"):
            client.workflows.register(path.read_text())
        run = client.workflows.run((tmp_path / "ours.yaml").read_text(), inputs, timeout=180)
    assert run.status.value == "completed", run.error
    assert run.output == output


WITH_EXIT = """
kind: Workflow
metadata: {name: argo-exit}
spec:
  entrypoint: main
  onExit: leave
  templates:
    - name: main
      steps: [[{name: work, template: print-message, arguments: {parameters: [{name: message, value: done}]}}]]
    - name: leave
      steps:
        - - {name: cheer, template: print-message, when: "{{workflow.status}} == Succeeded",
             arguments: {parameters: [{name: message, value: "it has {{workflow.status}}"}]}}
          - {name: cry, template: print-message, when: "{{workflow.status}} != Succeeded",
             arguments: {parameters: [{name: message, value: oh}]}}
    - name: print-message
      inputs: {parameters: [{name: message}]}
      container: {image: busybox, command: [echo, "{{inputs.parameters.message}}"]}
"""
UNDO = """
{"name": "conductor_undo", "inputParameters": ["reason", "workflowId", "failureStatus", "failureTaskId"],
 "tasks": [{"name": "print_message", "taskReferenceName": "say", "type": "SIMPLE",
            "inputParameters": {"message": "${workflow.input.failureTaskId}: ${workflow.input.reason}"}}],
 "outputParameters": {"said": "${say.output.result}"}}
"""
MAIL = """
{"name": "conductor_mail", "inputParameters": ["to"],
 "tasks": [{"name": "print_message", "taskReferenceName": "say", "type": "SIMPLE",
            "inputParameters": {"message": "to ${workflow.input.to}"}}],
 "outputParameters": {"said": "${say.output.result}"}}
"""
FAILS = """
{"name": "conductor_fails", "failureWorkflow": "conductor_undo", "tasks": [
  {"name": "start", "taskReferenceName": "mail", "type": "START_WORKFLOW",
   "inputParameters": {"startWorkflow": {"name": "conductor_mail", "input": {"to": "ann"}}}},
  {"name": "stop", "taskReferenceName": "stop", "type": "TERMINATE",
   "inputParameters": {"terminationStatus": "FAILED", "terminationReason": "no more of ${mail.output.workflowId}"}}]}
"""


def imported(platform: Platform, folder: Path, engine: str, text: str) -> str:
    """Returns the definition that the import writes of one that needs no subworkflows of its own."""
    (folder / "theirs").write_text(text)
    ours = folder / "ours.yaml"
    done = platform.cli("workflow", "import", str(folder / "theirs"), "--from", engine, "--to", str(ours), "--force")
    assert done.returncode == 0, done.stderr
    return ours.read_text()


def test_an_exit_handler_of_argo_runs_when_the_run_ends(platform: Platform, tmp_path: Path) -> None:
    text = imported(platform, tmp_path, "argo", WITH_EXIT)
    with platform.client() as client:
        run = client.workflows.run(text, timeout=180)
    steps = {step.step: (step.status.value, (step.output or {}).get("result")) for step in run.steps}
    assert steps == {
        "work": ("completed", "done"), "cheer": ("completed", "it has completed"), "cry": ("skipped", None),
    }  # fmt: skip


def test_conductor_starts_a_workflow_beside_it_and_another_one_after_a_failure(
    platform: Platform, tmp_path: Path
) -> None:
    with platform.client() as client:
        for text in (UNDO, MAIL):
            client.workflows.register(imported(platform, tmp_path, "conductor", text))
        submitted = client.workflows.submit(imported(platform, tmp_path, "conductor", FAILS))
        run = client.workflows.wait(submitted, timeout=60)
        assert run.status.value == "failed"
        steps = {step.step: step.output for step in run.steps}
        mail = client.workflows.wait(steps["mail"]["run"], timeout=60)
        undo = client.workflows.wait(steps["on_failure_conductor_undo"]["run"], timeout=60)
    assert mail.output == {"said": "to ann"}
    assert undo.output == {"said": f"stop: no more of {mail.run_id}"}
