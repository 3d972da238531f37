"""Definitions of other engines, one for each, that use most of what an import knows."""

from __future__ import annotations

from typing import Final

ARGO: Final = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: report-}
spec:
  entrypoint: main
  activeDeadlineSeconds: 60
  onExit: tidy
  synchronization:
    semaphores: [{configMapKeyRef: {name: sizes, key: reports}}]
    mutexes: [{name: "topic-{{workflow.parameters.topic}}", namespace: other}]
  arguments:
    parameters:
      - {name: topic, value: boats}
      - {name: sizes, value: "[1, 2]"}
  templates:
    - name: main
      steps:
        - - name: draft
            template: write
            arguments: {parameters: [{name: about, value: "On {{workflow.parameters.topic}}"}]}
        - - name: good
            template: publish
            when: "{{steps.draft.outputs.result}} == done"
          - name: measure
            template: measure
            arguments: {parameters: [{name: size, value: "{{item}}"}]}
            withParam: "{{workflow.parameters.sizes}}"
        - - name: check
            template: checks
            arguments: {parameters: [{name: text, value: "{{steps.draft.outputs.parameters.text}}"}]}
        - - {name: pause, template: pause}
          - name: rows
            template: row
            arguments: {parameters: [{name: cells, value: "{{item.cells}}"}, {name: word, value: "{{item.word}}"}]}
            withItems: [{word: a, cells: [{text: b}]}]
    - name: write
      inputs: {parameters: [{name: about}]}
      retryStrategy: {limit: "3", backoff: {duration: "2", factor: "2", cap: "10"}}
      script: {image: "python:3", command: [python], source: "print(1)"}
      outputs: {parameters: [{name: text, valueFrom: {path: /tmp/text}}]}
    - name: publish
      http: {url: "https://example.com/{{workflow.parameters.topic}}"}
    - name: measure
      inputs: {parameters: [{name: size}]}
      container: {image: alpine, command: [echo, "{{inputs.parameters.size}}"]}
    - name: checks
      inputs: {parameters: [{name: text}]}
      dag:
        tasks:
          - {name: spelling, template: look, arguments: &text {parameters: [
             {name: text, value: "{{inputs.parameters.text}}"}]}}
          - {name: links, template: look, arguments: *text}
          - {name: mend, template: look, depends: "spelling.Failed || links.Failed",
             arguments: {parameters: [{name: text, value: again}]}}
    - name: look
      inputs: {parameters: [{name: text}]}
      container: {image: alpine, command: [cat]}
    - {name: pause, suspend: {duration: 10s}}
    - name: tidy
      steps:
        - - {name: cheer, template: look, when: "{{workflow.status}} == Succeeded",
             arguments: {parameters: [{name: text, value: "{{workflow.status}}"}]}}
          - {name: free, template: free}
    - name: row
      inputs: {parameters: [{name: cells}, {name: word}]}
      steps:
        - - name: cell
            template: look
            arguments: {parameters: [{name: text, value: "{{inputs.parameters.word}} {{item.text}}"}]}
            withParam: "{{inputs.parameters.cells}}"
            when: "{{item.text}} != none"
    - {name: free, synchronization: {mutex: {name: disk}}, container: {image: alpine, command: [rm]}}
"""

CONDUCTOR: Final = """\
{
  "name": "order",
  "version": 1,
  "inputParameters": ["sku", "amount"],
  "timeoutSeconds": 60,
  "failureWorkflow": "order_failed",
  "tasks": [
    {"name": "get_stock", "taskReferenceName": "stock", "type": "HTTP", "inputParameters": {"http_request": {
      "uri": "https://example.com/stock/${workflow.input.sku}", "method": "GET"}}},
    {"name": "count", "taskReferenceName": "enough", "type": "INLINE", "inputParameters": {
      "have": "${stock.output.response.body.count}", "want": "${workflow.input.amount}",
      "evaluatorType": "graaljs", "expression": "$.have >= $.want"}},
    {"name": "route", "taskReferenceName": "route", "type": "SWITCH", "evaluatorType": "value-param",
     "expression": "ok", "inputParameters": {"ok": "${enough.output.result}"},
     "decisionCases": {"true": [
       {"name": "ship", "taskReferenceName": "ship", "type": "SIMPLE", "retryCount": 2, "retryDelaySeconds": 1,
        "inputParameters": {"sku": "${workflow.input.sku}"}}]},
     "defaultCase": [
       {"name": "stop", "taskReferenceName": "stop", "type": "TERMINATE", "inputParameters": {
         "terminationStatus": "FAILED", "terminationReason": "only ${stock.output.response.body.count} left"}}]},
    {"name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": [
      [{"name": "mail", "taskReferenceName": "mail", "type": "SIMPLE", "optional": true}],
      [{"name": "bill", "taskReferenceName": "bill", "type": "SUB_WORKFLOW",
        "subWorkflowParam": {"name": "billing", "version": 2}, "inputParameters": {"sku": "${workflow.input.sku}"}}]]},
    {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": ["mail", "bill"]},
    {"name": "poll", "taskReferenceName": "poll", "type": "DO_WHILE",
     "loopCondition": "if ($.poll['iteration'] < 5 && $.look['state'] != 'done') { true; } else { false; }",
     "loopOver": [{"name": "look", "taskReferenceName": "look", "type": "SIMPLE"}]},
    {"name": "rows", "taskReferenceName": "rows", "type": "DO_WHILE", "items": "${stock.output.response.body.rows}",
     "loopOver": [
       {"name": "cells", "taskReferenceName": "cells", "type": "DO_WHILE", "items": "${rows.output.loopItem.cells}",
        "loopOver": [{"name": "paint", "taskReferenceName": "paint", "type": "SIMPLE", "retryCount": 1,
          "inputParameters": {"cell": "${cells.output.loopItem}", "row": "${rows.output.loopIndex}"}}]}]},
    {"name": "forks", "taskReferenceName": "forks", "type": "DO_WHILE", "items": "${stock.output.response.body.rows}",
     "loopOver": [
       {"name": "each", "taskReferenceName": "each", "type": "FORK_JOIN_DYNAMIC", "inputParameters": {
         "forkTaskName": "paint", "forkTaskInputs": "${forks.output.loopItem.cells}"}},
       {"name": "all", "taskReferenceName": "all", "type": "JOIN", "joinOn": []}]},
    {"name": "wait", "taskReferenceName": "wait", "type": "WAIT", "inputParameters": {"duration": "2 minutes"}}
  ],
  "outputParameters": {"shipped": "${ship.output.id}", "invoice": "${join.output.bill.number}"}
}
"""

SERVERLESS: Final = """\
document: {dsl: 1.0.3, namespace: test, name: adoption, version: 0.1.0}
timeout: {after: PT1M}
do:
  - getPet:
      try:
        - askShop:
            call: http
            with: {method: get, endpoint: "https://example.com/pets/{petId}"}
      catch:
        errors: {with: {type: https://serverlessworkflow.io/spec/1.0.0/errors/communication, status: 404}}
        do:
          - noPet: {set: {kind: none}}
  - choose:
      switch:
        - dog: {when: .kind == "dog", then: walk}
        - other: {then: exit}
  - walk:
      fork:
        branches:
          - leash:
              call: openapi
              with: {document: {endpoint: x}, operationId: buyLeash, parameters: {size: "${ .size }"}}
          - route: {run: {workflow: {namespace: test, name: plan-route, version: 1.0.0, input: {km: 3}}}}
  - rest: {wait: {seconds: 30}}
  - kennels:
      for: {each: kennel, in: ".[0].kennels", at: place}
      do:
        - dogs:
            for: {each: dog, in: $kennel.dogs}
            do:
              - brush: {call: brush, with: {dog: $dog, kennel: "${ $kennel.name }", place: $place, number: $index}}
  - heard:
      listen: {to: {one: {with: {type: com.example.returned}}}}
  - done:
      set: {note: '${ "walked " + .[0].name }'}
"""

STEP_FUNCTIONS: Final = """\
{
  "Comment": "poll a job",
  "StartAt": "Submit",
  "TimeoutSeconds": 300,
  "States": {
    "Submit": {"Type": "Task", "Resource": "arn:aws:lambda:eu-1:1:function:submit-job", "ResultPath": "$.job",
      "Retry": [{"ErrorEquals": ["States.Timeout"], "IntervalSeconds": 2, "MaxAttempts": 2, "BackoffRate": 2}],
      "Catch": [{"ErrorEquals": ["Busy"], "ResultPath": "$.error", "Next": "Give up"}], "Next": "Wait"},
    "Wait": {"Type": "Wait", "SecondsPath": "$.pause", "Next": "Look"},
    "Look": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke",
      "Parameters": {"FunctionName": "look", "Payload": {"id.$": "$.job.id", "run.$": "$$.Execution.Id"}},
      "ResultSelector": {"state.$": "$.Payload.state"}, "ResultPath": "$.seen", "Next": "Done?"},
    "Done?": {"Type": "Choice", "Choices": [
      {"Variable": "$.seen.state", "StringEquals": "FAILED", "Next": "Give up"},
      {"Variable": "$.seen.state", "StringEquals": "DONE", "Next": "Both"}], "Default": "Wait"},
    "Both": {"Type": "Parallel", "ResultPath": "$.both", "Next": "Each", "Branches": [
      {"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": {"n": 1}, "End": true}}},
      {"StartAt": "B", "States": {
        "B": {"Type": "Task", "Resource": "arn:aws:lambda:eu-1:1:function:b", "End": true}}}]},
    "Each": {"Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 3, "ItemProcessor": {"StartAt": "One", "States": {
      "One": {"Type": "Task", "Resource": "arn:aws:lambda:eu-1:1:function:one", "End": true}}}, "ResultPath": "$.each",
      "Next": "Rows"},
    "Rows": {"Type": "Map", "ItemsPath": "$.rows", "End": true, "ItemProcessor": {"StartAt": "Cells", "States": {
      "Cells": {"Type": "Map", "ItemsPath": "$.cells", "MaxConcurrency": 2, "End": true,
        "ItemSelector": {"row.$": "$.name", "cell.$": "$$.Map.Item.Value", "at.$": "$$.Map.Item.Index"},
        "ItemProcessor": {"StartAt": "Cell", "States": {
          "Cell": {"Type": "Task", "Resource": "arn:aws:lambda:eu-1:1:function:one", "End": true}}}}}}},
    "Give up": {"Type": "Fail", "Error": "JobFailed", "Cause": "the job failed"}
  }
}
"""

N8N: Final = """\
{
  "name": "Triage",
  "nodes": [
    {"id": "1", "name": "When clicked", "type": "n8n-nodes-base.manualTrigger", "parameters": {}},
    {"id": "2", "name": "Get ticket", "type": "n8n-nodes-base.httpRequest",
     "parameters": {"url": "=https://example.com/tickets/{{ $json.id }}"}, "retryOnFail": true, "maxTries": 2},
    {"id": "3", "name": "Urgent?", "type": "n8n-nodes-base.if", "parameters": {"conditions": {"combinator": "and",
     "conditions": [{"leftValue": "={{ $json.priority }}", "rightValue": "high",
                     "operator": {"type": "string", "operation": "equals"}}]}}},
    {"id": "4", "name": "Call", "type": "n8n-nodes-base.slack",
     "parameters": {"resource": "message", "operation": "post", "text": "=Ticket {{ $json.title }}"}},
    {"id": "5", "name": "Note", "type": "n8n-nodes-base.set", "parameters": {"assignments": {"assignments": [
     {"name": "late", "value": "={{ $('Get ticket').item.json.title }}", "type": "string"}]}}},
    {"id": "6", "name": "Sum up", "type": "n8n-nodes-base.code", "parameters": {"jsCode": "return items"}},
    {"id": "7", "name": "Sticky", "type": "n8n-nodes-base.stickyNote", "parameters": {}}
  ],
  "connections": {
    "When clicked": {"main": [[{"node": "Get ticket", "type": "main", "index": 0}]]},
    "Get ticket": {"main": [[{"node": "Urgent?", "type": "main", "index": 0}]]},
    "Urgent?": {"main": [[{"node": "Call", "type": "main", "index": 0}],
                         [{"node": "Note", "type": "main", "index": 0}]]},
    "Call": {"main": [[{"node": "Sum up", "type": "main", "index": 0}]]},
    "Note": {"main": [[{"node": "Sum up", "type": "main", "index": 0}]]}
  }
}
"""

FOREIGN: Final = {
    "argo": ARGO,
    "conductor": CONDUCTOR,
    "n8n": N8N,
    "serverless-workflow": SERVERLESS,
    "step-functions": STEP_FUNCTIONS,
}
