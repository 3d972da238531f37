"""The gateway among the real services: a workflow from submission to its end, through the public API alone."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentflow.v1 import budget_pb2 as budgets
from agentflow.v1 import budget_pb2_grpc, control_pb2_grpc, prompt_pb2_grpc, workflow_pb2_grpc
from agentflow.v1 import control_pb2 as controls
from agentflow.v1 import prompt_pb2 as prompts
from agentflow.v1 import workflow_pb2 as workflows
from agentflow_common import subjects
from agentflow_common.runtime.service import running
from tests.support import deadlines
from tests.support.gateway import stub
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration

EMAIL = "@".join(("jane.doe", "example.org"))
DEFINITION = """\
name: digest
version: 1
inputs: {text: {type: string}}
dag:
  nodes:
    - {id: watched, type: signal, config: {signal: watched}}
    - id: split
      type: function
      config: {function_name: text_splitter, function_args: {text: "{{text}}", chunk_size: 200}}
    - {id: sum, type: llm, config: {prompt_ref: digest, inputs: {content: "{{text}}"}}}
  edges:
    - {from: watched, to: split}
    - {from: split, to: sum}
"""


async def test_a_workflow_through_every_service(nats_url: str, db_env: dict[str, str], tmp_path: Path) -> None:
    from agentflow_cost.app import app as cost_app
    from agentflow_cost.settings import CostSettings
    from agentflow_gateway.app import app
    from agentflow_gateway.settings import GatewaySettings
    from agentflow_prompt.app import app as prompt_app
    from agentflow_prompt.settings import PromptSettings
    from agentflow_scheduler.app import app as scheduler_app
    from agentflow_scheduler.settings import SchedulerSettings
    from agentflow_security.app import app as security_app
    from agentflow_security.settings import SecuritySettings
    from agentflow_worker.app import app as worker_app
    from agentflow_worker.settings import WorkerSettings

    common: dict[str, Any] = {"nats_url": nats_url}
    database: dict[str, Any] = common | {name.lower(): value for name, value in db_env.items()}
    key = secrets.token_hex(16)
    vault: dict[str, Any] = {"vault_key": base64.b64encode(secrets.token_bytes(32)).decode()}
    services: list[tuple[str, Any, Any]] = [
        ("prompt", PromptSettings(**database), prompt_app),
        ("security", SecuritySettings(**database, **vault), security_app),
        ("cost", CostSettings(**database), cost_app),
        ("scheduler", SchedulerSettings(**common), scheduler_app),
        ("worker", WorkerSettings(**common), worker_app),
        ("gateway", GatewaySettings(**database, api_key=key), app),
    ]
    auth = (("authorization", f"Bearer {key}"),)
    async with contextlib.AsyncExitStack() as stack:
        for name, settings, start in services:
            context: Any = await stack.enter_async_context(running(name, settings, start))
        channel = deadlines.channel(f"127.0.0.1:{context.ports['grpc']}")
        await stack.enter_async_context(channel)
        workflow = stub(workflow_pb2_grpc.WorkflowServiceStub, channel)
        prompt = stub(prompt_pb2_grpc.PromptServiceStub, channel)
        budget = stub(budget_pb2_grpc.BudgetServiceStub, channel)

        create = prompts.CreatePromptRequest(name="digest", template="Summarize: {{content}}", task="summarize")
        create.inputs_schema.update({"type": "object", "required": ["content"]})
        made = (await prompt.CreatePrompt(create, metadata=auth)).prompt
        assert (made.version, made.max_output_tokens, made.inputs_schema["required"][0]) == (1, 1024, "content")
        wanted = budgets.CreateBudgetRequest(
            name="all", period=budgets.BUDGET_PERIOD_MONTHLY, limit_nano_usd=10**9, scope="org"
        )
        await budget.CreateBudget(wanted, metadata=auth)
        (there,) = (await budget.ListBudgets(budgets.ListBudgetsRequest(), metadata=auth)).budgets
        assert (there.name, there.period, there.limit_nano_usd) == ("all", budgets.BUDGET_PERIOD_MONTHLY, 10**9)

        validate = workflows.ValidateWorkflowRequest(
            definition_text=DEFINITION.replace("text_splitter", "text_spliter")
        )
        async with asyncio.timeout(PATIENCE_S):
            while not (problems := (await workflow.ValidateWorkflow(validate, metadata=auth)).problems):
                await asyncio.sleep(0.1)  # until the worker's names are in the registry
        assert "did you mean 'text_splitter'" in problems[0].fix

        submit = workflows.SubmitWorkflowRequest(definition_text=DEFINITION, budget_cents=10)
        submit.inputs.update({"text": f"Contracts are reviewed by {EMAIL} before the board meets in March. " * 12})
        run = (await workflow.SubmitWorkflow(submit, metadata=auth)).run_id
        watch = workflows.WatchRunRequest(run_id=run, include_tokens=True)
        items: list[Any] = []
        async with asyncio.timeout(3 * PATIENCE_S):
            async for item in workflow.WatchRun(watch, metadata=auth):
                if not items:  # tokens are for those who watch: nothing is said before somebody does
                    signal = controls.SignalRunRequest(run_id=run, name="watched")
                    await stub(control_pb2_grpc.RunControlServiceStub, channel).SignalRun(signal, metadata=auth)
                items.append(item)
        last = items[-1].event
        assert (last.type, last.steps_done, last.steps_total) == ("run.completed", 3, 3)
        tokens = [item.token for item in items if item.HasField("token")]
        assert {token.step for token in tokens} == {"sum"}

        found = (await workflow.GetRun(workflows.GetRunRequest(run_id=run), metadata=auth)).run
        assert found.status == workflows.RUN_STATUS_COMPLETED
        assert found.redactions["EMAIL_ADDRESS"] >= 12
        assert [(step.step, step.type, bool(step.model)) for step in found.steps] == [
            ("watched", "signal", False),
            ("split", "function", False),
            ("sum", "llm", True),
        ]
        assert EMAIL not in str(found)
        log = await context.log.read(subjects.run_all(subjects.key_of("default", run)))
        assert not [stored.seq for stored in log if EMAIL.encode() in stored.data]
        reveal = workflows.GetRunRequest(run_id=run, reveal=True, reveal_reason="test")
        shown = (await workflow.GetRun(reveal, metadata=auth)).run
        assert EMAIL in shown.inputs.struct_value["text"]
        audit = await context.log.read(subjects.audit("default", run), stream=subjects.AUDIT_STREAM)
        assert any(json.loads(stored.data)["action"] == "restore" for stored in audit)


def test_keys_are_made_listed_and_revoked_by_hand(db_env: dict[str, str]) -> None:
    def keys(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "agentflow_gateway.keys", *arguments]
        return subprocess.run(command, env=db_env, capture_output=True, text=True, timeout=60, check=False)

    made = keys("create", "--org", "acme", "--permissions", "read,write", "--name", "ci")
    assert (made.returncode, made.stdout[:4]) == (0, "afk_")
    listed = keys("list", "--org", "acme").stdout
    assert made.stdout.strip() not in listed
    key_id, org, permissions, state, *_ = listed.strip().split("\t")
    assert (org, permissions, state) == ("acme", "read,write", "active")
    assert keys("revoke", key_id).returncode == 0
    assert keys("revoke", key_id).returncode == 1
    assert "\trevoked\t" in keys("list").stdout
    refused = keys("create", "--org", "acme", "--permissions", "reed")
    assert refused.returncode == 2
    assert "choose from read, write" in refused.stderr
