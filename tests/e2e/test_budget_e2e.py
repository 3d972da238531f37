"""A budget that is used up, on a whole stack: the error tells the way out, and the way out works."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.waiting import until_now

pytestmark = pytest.mark.e2e
FLOW = """
name: priced
version: 1
dag:
  nodes:
    - {id: sum, type: llm, config: {prompt_ref: priced, inputs: {content: Apples are red. Pears are green.}}}
"""


def test_usage_09_the_error_of_a_spent_total_budget_names_the_commands_that_help(platform: Any) -> None:
    key = platform.make_key("admin", org="spent")
    with platform.client(key) as client:
        client.prompts.create("priced", "Summarize: {{content}}", task="summarize")
        client.budgets.create("0.000000001", "total", name="tiny")
        failed = client.workflows.wait(client.workflows.submit(FLOW), timeout=120)
        error = failed.error.message if failed.error else ""
        for words in ("'tiny'", "agentctl budget set tiny --limit", "agentctl budget delete tiny"):
            assert words in error, error
        raised = platform.cli("budget", "set", "tiny", "--limit", "5", token=key)
        assert raised.returncode == 0, raised.stderr
        client.workflows.run(FLOW, timeout=120)
        spent = until_now(lambda: client.budgets.get("tiny").spent_nano_usd)  # it is settled from the log
        client.budgets.set("tiny", limit_usd="0.000000001")
        assert client.budgets.get("tiny").spent_nano_usd == spent
        assert platform.cli("budget", "delete", "tiny", token=key).returncode == 0
        client.workflows.run(FLOW, timeout=120)
        actions = [entry.action for entry in client.audit.list() if entry.action.startswith("budget.")]
        assert actions == ["budget.deleted", "budget.changed", "budget.changed", "budget.created"]
