"""`agentctl keys` on a running stack: no setting is typed, the key works, and a revoked one does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentflow_sdk import Client, PermissionDeniedError, UnauthenticatedError
from tests.support.agentctl import AgentCtl
from tests.support.stack import running_stack
from tests.support.waiting import until_now

cli = AgentCtl()
pytestmark = pytest.mark.integration


def refused(endpoint: str, key: str) -> bool:
    with Client(endpoint, key) as client:
        try:
            client.workflows.list()
        except UnauthenticatedError:
            return True
    return False


def test_usage_14_keys_of_the_stack_that_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTFLOW_CLI_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.setenv("COLUMNS", "60")  # a key must not be folded
    assert "agentctl up" in cli("keys", "list", "--data-dir", str(tmp_path / "none"), code=3).stderr
    with running_stack(tmp_path, services=["gateway"], file_roots=[str(tmp_path)]) as stack:
        monkeypatch.setenv("AGENTFLOW_DATA_DIR", str(stack.data_dir))
        made = cli("keys", "create", "--name", "ann")
        key = made.stdout.strip()
        assert key.startswith("afk_")
        assert "\n" not in key
        assert key not in made.stderr
        with Client(stack.grpc, key) as client:
            assert client.workflows.list() is not None
            with pytest.raises(PermissionDeniedError):
                client.admin.list_dead_letters()
        wide = json.loads(
            cli("keys", "create", "--name", "ops", "--permissions", "admin, operator", "-o", "json").stdout
        )
        assert wide["permissions"] == ["admin", "operator"]
        listed = {row["name"]: row for row in json.loads(cli("keys", "list", "-o", "json").stdout)}
        assert set(listed) == {"dev", "ann", "ops"}
        assert listed["ann"]["permissions"] == ["read", "write"]
        assert key not in json.dumps(listed)
        assert cli("keys", "create", "--name", " ", code=2).stderr.startswith("error: --name is empty\n")
        assert "auditor" in cli("keys", "create", "--name", "x", "--permissions", "owner", code=2).stderr
        cli("keys", "revoke", wide["id"])
        until_now(lambda: refused(stack.grpc, wide["key"]), what="the revoked key is refused")
        assert "keys list" in cli("keys", "revoke", wide["id"], "key_unknown", code=2).stderr
        assert not refused(stack.grpc, key)
