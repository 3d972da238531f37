"""Queries of traces through the SDK and the command line, on a whole stack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agentflow_sdk import Client, InvalidArgumentError, PermissionDeniedError
from tests.support.waiting import until_now

pytestmark = pytest.mark.e2e

FLOW = """
name: searched
version: 1
inputs: {text: {type: string}, chunk: {type: integer}}
dag:
  nodes:
    - id: split
      type: function
      config: {function_name: text_splitter, function_args: {text: "{{text}}", chunk_size: "{{chunk}}"}}
    - id: answer
      type: llm
      config: {prompt: "Sum up: {{text}}"}
      depends_on: [split]
"""


@pytest.fixture(scope="module")
def org(platform: Any) -> str:
    key: str = platform.make_key("read,write,admin", org="searching")
    return key


@pytest.fixture(scope="module")
def found(platform: Any, org: str) -> Iterator[Client]:
    """A client of an org with one run that completed and one that failed."""
    with platform.client(org) as client:
        client.workflows.register(FLOW)
        good = client.workflows.submit("searched", {"text": "Zebras graze. ", "chunk": 10}, tags={"team": "herd"})
        bad = client.workflows.submit("searched", {"text": "Lions hunt.", "chunk": -1})
        client.workflows.wait(good, timeout=120)
        client.workflows.wait(bad, timeout=120)
        until_now(lambda: {run.status.value for run in client.traces.query()} == {"completed", "failed"})
        yield client


def _texts(client: Client, **filters: Any) -> list[str]:
    return [run.status.value for run in client.traces.query(**filters)]


def test_each_filter_finds_its_runs(found: Client) -> None:
    (run,) = found.traces.query(status="completed")
    assert run.models and run.input_tokens and run.tags == {"team": "herd"} and run.org_id == "searching"
    assert _texts(found, model=run.models[0]) == _texts(found, node="answer") == _texts(found, tags={"team": "herd"})
    assert _texts(found, text="zebras GRAZE") == _texts(found, max_cost_usd="1", min_duration_ms=1, text="zebras")
    assert _texts(found, text="zebras") == ["completed"]
    (failed,) = found.traces.query(status="failed")
    kind = failed.error.partition(":")[0]
    assert kind and _texts(found, error_type=kind) == ["failed"]
    assert _texts(found, min_cost_usd="1000") == _texts(found, version=2) == _texts(found, text="definition") == []
    both = found.traces.query(sort="tokens", limit=1)
    assert both[0].status.value == "completed"
    rest = found.traces.query(sort="tokens", limit=1, page_token=both.next_page_token, end_ms=2**42)  # time went on
    assert [item.status.value for item in rest] == ["failed"] and not rest.next_page_token


@pytest.mark.parametrize(
    ("filters", "place"),
    [
        ({"sort": "name"}, "sort"),
        ({"min_cost_usd": "2", "max_cost_usd": "1"}, "max_cost_nano_usd"),
        ({"min_duration_ms": -1}, "min_duration_ms"),
        ({"min_cost_usd": "12,50"}, "min_cost_usd"),
        ({"text": "?!"}, "text"),
        ({"tags": {"a b": "1"}}, "tags['a b']"),
        ({"model": "m" * 200}, "model"),
    ],
)
def test_a_wrong_filter_is_refused(found: Client, filters: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        found.traces.query(**filters)
    assert place in {problem.place for problem in refused.value.problems}


def test_other_orgs_need_an_operator_who_sees_no_texts(platform: Any, found: Client) -> None:
    with pytest.raises(PermissionDeniedError, match="operator"):
        found.traces.query(org_id="acme")
    key = platform.make_key("read,operator,auditor", org="platform")
    with platform.client(key) as operator:
        seen = operator.traces.query(org_id="searching")
        assert {run.org_id for run in seen} == {"searching"}
        assert all(":" not in run.error for run in seen) and any(run.error for run in seen)
        assert {run.run_id for run in seen} <= {run.run_id for run in operator.traces.query(org_id="*", limit=1000)}
        with pytest.raises(InvalidArgumentError, match="own org"):
            operator.traces.query(org_id="searching", text="zebras")
        assert "traces_of_orgs" in {entry.action for entry in operator.audit.list()}


def test_the_command_line_shows_what_was_found(platform: Any, org: str, found: Client) -> None:
    shown = platform.cli("trace", "query", "--text", "zebras", "--min-latency", "1ms", "-o", "json", token=org)
    (run,) = json.loads(shown.stdout)
    assert run["status"] == "completed" and run["models"]
    table = platform.cli("trace", "query", "--sort", "cost", "--tag", "team=herd", token=org).stdout
    assert "searched" in table and "COST" in table
    wrong = platform.cli("trace", "query", "--min-cost", "12,50", token=org)
    assert wrong.returncode == 2
    assert "min_cost_usd" in wrong.stderr
