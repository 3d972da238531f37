"""Exit handlers, failure workflows, locks and prompts of other engines become these nodes."""

from __future__ import annotations

import json

import yaml

from agentctl.importers.convert import convert
from tests.support.imports import app, argo, conductor, imported, n8n, node, simple, task_of


def test_argo_locks_of_a_step_are_a_lane_and_those_of_a_called_template_a_run_lane() -> None:
    lock = {"synchronization": {"semaphore": {"configMapKeyRef": {"name": "c", "key": "disk"}}}}
    alone = {"name": "alone", **lock, "container": {"image": "i"}}
    inner = {
        "name": "inner",
        "synchronization": {"mutex": {"name": "db"}},
        "steps": [[{"name": "x", "template": "do"}]],
    }
    calls = ({"name": "a", "template": "alone"}, {"name": "b", "template": "inner"})
    made = convert(json.dumps(argo(*calls, templates=[alone, inner])), "argo")
    main, child = (yaml.safe_load(written.text) for written in made.definitions)
    assert (node(main, "a")["lane"], child["run_lane"]) == ("disk-{{org}}", {"key": "db", "limit": 1})
    assert made.invalid == ()
    size = ("the semaphore's size stands in the cluster", "set `lane_limit`")
    assert size in [(remark.message, remark.fix) for remark in made.remarks]


def test_argo_exit_handlers_run_when_the_run_ends() -> None:
    status = {"parameters": [{"name": "x", "value": "{{workflow.status}}"}]}
    first = {"name": "a", "template": "do", "when": "{{workflow.status}} != Succeeded", "arguments": status}
    handler = {"name": "exit", "steps": [[first], [{"name": "b", "template": "do"}]]}
    made, remarks = imported("argo", argo({"name": "a", "template": "do"}, onExit="exit", templates=[handler]))
    assert node(made, "a") == {"id": "a", "type": "tool", "config": {"tool_name": "do", "tool_args": {"x": "1"}}}
    ending = {found["id"]: found for found in made["dag"]["nodes"] if found.get("finally")}
    assert list(ending) == ["end_of_w", "a_2", "b"]
    assert ending["a_2"]["config"]["tool_args"] == {"x": "{{outcome.status}}"}
    assert made["dag"]["edges"] == [
        {"from": "end_of_w", "to": "a_2", "condition": 'outcome.status != "completed"'},
        {"from": "a_2", "to": "b"},
        {"from": "end_of_w", "to": "b", "condition": '!(outcome.status != "completed")'},
    ]
    assert not any("onExit" in remark for remark in remarks)
    made, _ = imported("argo", argo({"name": "a", "template": "do"}, onExit="do"))
    assert node(made, "do") == {
        "id": "do", "type": "tool", "config": {"tool_name": "do", "tool_args": {"x": "1"}}, "finally": True,
    }  # fmt: skip
    _, remarks = imported("argo", argo({"name": "a", "template": "do"}, onExit="gone"))
    assert "there is no template 'gone'" in remarks


def test_conductor_starts_other_workflows_and_one_when_a_run_has_failed() -> None:
    start = task_of("s", "START_WORKFLOW", startWorkflow={"name": "mail", "version": 2, "input": {"to": "ann"}})
    made, remarks = imported("conductor", conductor(start, simple("use", id="${s.output.workflowId}"),
                                                    failureWorkflow="undo it"))  # fmt: skip
    assert node(made, "s")["config"] == {"workflow": "mail@2", "inputs": {"to": "ann"}, "detached": True}
    assert node(made, "use")["config"]["tool_args"] == {"id": "s.output.run"}
    failed = node(made, "on_failure_undo_it")
    assert (failed["condition"], failed["finally"]) == ("outcome.status != 'completed'", True)
    assert failed["config"]["workflow"] == "undo_it"
    assert failed["config"]["detached"] is True
    assert failed["config"]["inputs"]["reason"] == "{{outcome.error.message or outcome.reason}}"
    assert made["dag"]["edges"] == [{"from": "s", "to": "use"}]
    assert any(remark.startswith("the failure workflow gets reason, workflowId") for remark in remarks)


def test_conductor_messages_to_a_model_are_its_prompt() -> None:
    messages = [
        {"role": "system", "message": "Be brief."},
        {"role": "user", "message": "Sum up ${workflow.input.text}"},
    ]
    asks = task_of("ask", "LLM_CHAT_COMPLETE", messages=messages, maxTokens=100)
    made, remarks = imported("conductor", conductor(asks, simple("use", said="${ask.output.result}")))
    assert node(made, "ask")["config"] == {"prompt": "Be brief.\n\nSum up {{text}}", "max_output_tokens": 100}
    assert node(made, "use")["config"]["tool_args"] == {"said": "ask.output.text"}
    assert "the messages are one text here, without their roles" in remarks
    named = task_of("ask", "LLM_TEXT_COMPLETE", promptName="sum up", promptVariables={"text": "${workflow.input.text}"})
    made, _ = imported("conductor", conductor(named))
    assert node(made, "ask")["config"] == {"prompt_ref": "sum_up", "inputs": {"text": "{{text}}"}}


def test_n8n_prompts_of_models() -> None:
    chain = {"name": "m", "type": "@n8n/n8n-nodes-langchain.chainLlm",
             "parameters": {"promptType": "define", "text": "=Sum up {{ $json.text }}"}}  # fmt: skip
    made, remarks = imported("n8n", n8n([app("s", "manualTrigger"), chain], s=[["m"]]))
    assert node(made, "m")["config"] == {"prompt": "Sum up {{inputs.text}}"}
    assert remarks == []
    bare = {**chain, "parameters": {}}
    made, remarks = imported("n8n", n8n([app("s", "manualTrigger"), bare], s=[["m"]]))
    assert node(made, "m")["config"]["prompt_ref"] == "m"
    assert "the prompt's text is not carried over: prompts are stored apart" in remarks
