"""docs/keys-and-permissions.md says of each call what the gateway asks for."""

from __future__ import annotations

import ast
from pathlib import Path

import agentflow_gateway
from agentflow_common.errors import PermissionDeniedError
from agentflow_gateway import auth_rules
from tests.docs import permissions
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/keys-and-permissions.md").read_text()
PACKAGE = Path(agentflow_gateway.__file__).parent
FIRST_WORDS = {"an answer in the name of": "AnswerApproval"}  # where the gateway's message names no call


def asked() -> set[tuple[str, str]]:
    """Returns (call, permission) of every place where the gateway asks for one beside the call's own."""
    found: set[tuple[str, str]] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            if name == "check_reveal":
                found.add((_call(node.args[1]), "reveal"))
            elif (
                name == "require" and isinstance(node.args[1], ast.Constant) and not isinstance(node.args[2], ast.Name)
            ):
                found.add((_call(node.args[2]), node.args[1].value))
    return found


def _call(what: ast.expr) -> str:
    part = what.values[0] if isinstance(what, ast.JoinedStr) else what
    assert isinstance(part, ast.Constant)
    text = part.value.strip()
    return FIRST_WORDS.get(text, text.split()[0])


def test_the_table_has_every_call_of_the_gateway_and_no_other() -> None:
    calls = [call for _, calls in permissions.services() for call in calls]
    assert sorted(calls) == sorted(auth_rules.PERMISSION_OF)


def test_what_a_call_needs_beside_its_permission_is_what_the_gateway_asks_for() -> None:
    assert asked() == {(call, beside.permission) for call, beside in permissions.BESIDE.items()}


def test_the_page_explains_every_permission() -> None:
    for permission in auth_rules.PERMISSIONS:
        assert f"\n| `{permission}` | " in PAGE


def test_the_page_says_which_permissions_admin_includes() -> None:
    admin = auth_rules.Identity("key_1", "org", ("admin",))
    included = []
    for permission in auth_rules.PERMISSIONS:
        try:
            auth_rules.require(admin, permission, "a call")
        except PermissionDeniedError:
            continue
        included.append(permission)
    assert included == ["read", "write", "admin", "auditor"]
    assert "`admin` includes `read`, `write` and `auditor`" in PAGE
