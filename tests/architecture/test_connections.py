"""How connections are made, and what is known of their errors, has one home each."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.paths import ROOT

CODE = ("libs/*/src", "services/*/src", "cli/src", "benchmarks")
NATS_HOME = "libs/common/src/agentflow_common/connections/nats_client.py"
ERRORS_HOME = "libs/common/src/agentflow_common/connections/transient.py"
DRIVER_ERRORS = {"InterfaceError", "PostgresConnectionError", "CannotConnectNowError", "TooManyConnectionsError"}
STARTING = {"libs/common/src/agentflow_common/connections/postgres.py"}  # waits for a server that starts


def _files() -> list[Path]:
    return sorted({path for place in CODE for folder in ROOT.glob(place) for path in folder.rglob("*.py")})


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _calls(path: Path) -> set[str]:
    """The dotted names of what the file calls, the name after the last dot, and the bases of its classes."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            found.add(ast.unparse(node.func))
        elif isinstance(node, ast.ClassDef):
            found.update(ast.unparse(base) for base in node.bases)
    return found


def test_cluster_01_one_place_opens_connections_to_nats() -> None:
    """Elsewhere they would lack the credentials for the servers that a cluster names, or give up."""
    openers = {"nats.connect", "NatsBroker", "Client", "NatsConnection"}
    found = {_name(path): sorted(openers & _calls(path)) for path in _files()}
    opened = {name: calls for name, calls in found.items() if calls and name != NATS_HOME}
    assert opened.pop("libs/common/src/agentflow_common/rpc/bus.py") == ["NatsBroker"], "on a connection of natsclient"
    assert opened.pop("libs/common/src/agentflow_common/log/fast_path.py") == ["Client"], (
        "the class that natsclient makes"
    )
    from_sdk = {name for name, calls in opened.items() if calls == ["Client"] and "nats" not in _imports(ROOT / name)}
    assert set(opened) == from_sdk


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_cluster_09_one_place_knows_which_errors_of_the_database_pass() -> None:
    for path in _files():
        if _name(path) in {ERRORS_HOME, *STARTING}:
            continue
        used = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not used & DRIVER_ERRORS, f"{_name(path)}: take transient.TRANSIENT or transient.SURVIVED"
