"""`Client()` finds the server and the key where agentctl finds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentctl import session
from agentflow_sdk import AsyncClient, Client, ConfigurationError
from agentflow_sdk.transport import connection

CLIENTS = [Client, AsyncClient]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AGENTFLOW_ENDPOINT", "AGENTFLOW_TOKEN", "AGENTFLOW_ORG", "AGENTFLOW_DATA_DIR", "API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AGENTFLOW_CLI_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stack_in(folder: Path, address: str, token: str) -> None:
    folder.mkdir()
    (folder / "key").write_text(token + "\n")
    (folder / "stack.json").write_text(json.dumps({"grpc": address, "dev_key_file": str(folder / "key")}))


def where(client: Any) -> tuple[str, dict[str, str]]:
    transport = client._transport
    return str(transport.endpoint), dict(transport._metadata)


@pytest.mark.parametrize("client", CLIENTS)
def test_usage_12_a_client_without_arguments_reads_the_environment(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTFLOW_ENDPOINT", "127.0.0.1:1")
    monkeypatch.setenv("AGENTFLOW_TOKEN", "of-the-environment")
    monkeypatch.setenv("AGENTFLOW_ORG", "acme")
    address, sent = where(client())
    assert address == "127.0.0.1:1"
    assert sent == {"authorization": "Bearer of-the-environment", "x-org-id": "acme"}


@pytest.mark.parametrize("client", CLIENTS)
def test_usage_12_then_the_configuration_and_then_the_embedded_stack(
    client: Any, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack_in(nowhere / ".agentflow", "127.0.0.1:3", "of-the-stack")
    assert where(client()) == ("127.0.0.1:3", {"authorization": "Bearer of-the-stack"})
    (nowhere / "config.yaml").write_text("endpoint: 127.0.0.1:2\ntoken: of-the-file\norg_id: acme\n")
    assert where(client()) == ("127.0.0.1:2", {"authorization": "Bearer of-the-file", "x-org-id": "acme"})
    monkeypatch.setenv("AGENTFLOW_TOKEN", "of-the-environment")
    assert where(client())[1]["authorization"] == "Bearer of-the-environment"
    address, sent = where(client("127.0.0.1:1", "given", "other"))
    assert (address, sent) == ("127.0.0.1:1", {"authorization": "Bearer given", "x-org-id": "other"})


def test_usage_12_the_key_of_the_embedded_stack_goes_nowhere_else(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack_in(nowhere / "data", "127.0.0.1:3", "of-the-stack")
    monkeypatch.setenv("AGENTFLOW_DATA_DIR", str(nowhere / "data"))
    assert where(Client("http://127.0.0.1:3"))[1] == {"authorization": "Bearer of-the-stack"}
    assert where(Client("127.0.0.1:4"))[1] == {}


@pytest.mark.parametrize("client", CLIENTS)
def test_usage_12_where_nothing_is_found_the_error_says_what_to_do(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="agentctl up --detach") as caught:
        client()
    assert "AGENTFLOW_ENDPOINT" in str(caught.value)
    monkeypatch.setenv("AGENTFLOW_ENDPOINT", "127.0.0.1:1")
    with pytest.raises(ConfigurationError, match=r"no API key for 127\.0\.0\.1:1") as caught:
        client()
    assert "AGENTFLOW_TOKEN" in str(caught.value)


@pytest.mark.parametrize("text", ["endpoint: [", "- a list", "\x00"])
def test_usage_12_a_configuration_that_can_not_be_read_is_named(nowhere: Path, text: str) -> None:
    (nowhere / "config.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"config\.yaml"):
        Client()


def test_usage_12_a_client_that_is_given_server_and_key_looks_nowhere(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTFLOW_ORG", "acme")
    (nowhere / "config.yaml").write_text("endpoint: [")
    assert where(Client("127.0.0.1:1", "given")) == ("127.0.0.1:1", {"authorization": "Bearer given"})


def test_usage_12_agentctl_looks_in_the_same_places(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack_in(nowhere / ".agentflow", "127.0.0.1:3", "of-the-stack")
    (nowhere / "config.yaml").write_text("org_id: acme\n")
    mine, theirs = session.resolve({}), connection.locate("", "", "")
    assert (mine.endpoint, mine.token, mine.org_id) == (theirs.endpoint, theirs.token, theirs.org_id)
    assert session.resolve({"token": "x"}).sources["token"] == "--token"
