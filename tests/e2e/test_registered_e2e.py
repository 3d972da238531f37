"""A run is what its name says, or it says so: definitions that differ from the registered one, on a whole stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from agentflow.v1 import workflow_pb2, workflow_pb2_grpc
from agentflow_sdk import AlreadyExistsError, Changes, Client
from tests.support import deadlines
from tests.support.waiting import until_now

pytestmark = pytest.mark.e2e
FLOW = """\
name: {name}
version: {version}
dag:
  nodes:
    - id: split
      type: function
      config: {{function_name: text_splitter, function_args: {{text: "{text}", chunk_size: 10}}}}
"""
DIFFERENT = "(unregistered)"


def flow(name: str, text: str, version: int = 1) -> str:
    return FLOW.format(name=name, version=version, text=text)


def test_usage_06_a_changed_file_under_a_registered_version_is_refused(
    platform: Any, client: Client, tmp_path: Path
) -> None:
    client.workflows.register(flow("taken", "one"))
    assert client.workflows.run(flow("taken", "one"), timeout=60).unregistered is False
    with pytest.raises(AlreadyExistsError) as caught:
        client.workflows.submit(flow("taken", "two"))
    assert "raise `version` to 2" in caught.value.problems[0].fix and "--unregistered" in caught.value.problems[0].fix
    stub: Any = workflow_pb2_grpc.WorkflowServiceStub
    with deadlines.blocking_channel(platform.stack.grpc) as channel:
        request = workflow_pb2.SubmitWorkflowRequest(definition_text=flow("taken", "two"))
        auth = (("authorization", f"Bearer {platform.stack.dev_key}"),)
        with pytest.raises(grpc.RpcError) as refused:
            stub(channel).SubmitWorkflow(request, metadata=auth)
        assert refused.value.code() == grpc.StatusCode.ALREADY_EXISTS
    file = tmp_path / "taken.yaml"
    file.write_text(flow("taken", "two"))
    made = platform.cli("workflow", "submit", str(file))
    assert made.returncode == 2 and "--unregistered" in made.stderr, made
    assert not any(run.unregistered for run in client.workflows.list(workflow="taken"))
    file.write_text(flow("taken", "two", version=2))  # a version that nobody registered is free
    assert platform.cli("workflow", "submit", str(file), "--wait").returncode == 0


def test_usage_06_a_run_with_another_definition_is_marked_at_every_door(
    platform: Any, client: Client, tmp_path: Path
) -> None:
    client.workflows.register(flow("marked", "one"))
    file = tmp_path / "marked.yaml"
    file.write_text(flow("marked", "two"))
    made = platform.cli("workflow", "submit", str(file), "--unregistered", "--wait", "-o", "json")
    assert made.returncode == 0, made.stderr
    (summary,) = client.workflows.list(workflow="marked")
    run = summary.run_id
    assert summary.unregistered and client.workflows.get(run).unregistered
    until_now(lambda: client.traces.get(run).unregistered)
    for words in (("workflow", "get", run), ("workflow", "list", "--workflow", "marked"), ("trace", "get", run)):
        assert f"marked@1 {DIFFERENT}" in platform.cli(*words).stdout, words
    told = platform.cli("workflow", "diff", "marked@1", run)
    assert "not the registered definition" in told.stderr and "two" in told.stdout, told
    (change,) = client.workflows.diff("marked@1", run).changes
    assert [(field.old, field.new) for field in change.fields] == [("one", "two")]
    again = client.workflows.fork(run, "split").run_id  # what comes of it is marked too
    assert client.workflows.wait(again, timeout=60).unregistered
    assert {item.run_id for item in client.workflows.list(workflow="marked") if item.unregistered} == {run, again}


def test_usage_06_a_fork_with_changes_is_marked_and_one_without_is_not(client: Client) -> None:
    client.workflows.register(flow("forked", "one"))
    run = client.workflows.run("forked", timeout=60)
    plain = client.workflows.fork(run, "split")
    changes = Changes(step_inputs={"split": {"text": "other"}})
    other = client.workflows.fork(run, "split", changes=changes)
    assert (client.workflows.get(plain).unregistered, client.workflows.get(other).unregistered) == (False, True)
    marked = {item.run_id for item in client.workflows.list(workflow="forked") if item.unregistered}
    assert marked == {other.run_id}


def test_usage_06_a_definition_that_is_registered_later_does_not_cover_the_run(client: Client) -> None:
    run = client.workflows.run(flow("later", "one"), timeout=60)
    assert run.unregistered
    client.workflows.register(flow("later", "two"))
    assert client.workflows.get(run).unregistered
    key = "the-same-key"
    first = client.workflows.submit(flow("keyed", "one"), idempotency_key=key)
    client.workflows.register(flow("keyed", "two"))
    again = client.workflows.submit(flow("keyed", "one"), idempotency_key=key)  # it was accepted before
    assert (again.run_id, again.deduplicated) == (first.run_id, True)
