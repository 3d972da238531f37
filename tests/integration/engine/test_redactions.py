"""Tokens that stand for personal data, on their way into a subworkflow and back: with the real security service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentflow_common import rpc, subjects
from agentflow_common.definition.parse import parse_text
from agentflow_common.rpc import bus
from agentflow_common.runs.state import RunStatus
from agentflow_common.runtime.service import running
from agentflow_security.app import app as security_app
from agentflow_security.settings import SecuritySettings

pytestmark = pytest.mark.integration

EMAIL = "jane.doe" + "@example.com"
CHILD = """
name: child
inputs: {mail: {type: string}}
outputs: {mail: "{{mail}}", other: say.output}
dag:
  nodes:
    - {id: say, type: function, config: {function_name: t.mail, inputs: {name: john}}}
"""
PARENT = """
name: parent
dag:
  nodes:
    - {id: say, type: function, config: {function_name: t.mail, inputs: {name: jane}}}
    - {id: sub, type: subworkflow, config: {workflow: child, inputs: {mail: say.output}}}
  edges: [{from: say, to: sub}]
"""


async def restored(nc: Any, key: subjects.EntityKey, value: Any) -> Any:
    request = rpc.RestoreRequest(org=key.org, run=key.name, value=value, actor="test", reason="a test asks")
    return (await bus.call(nc, rpc.RESTORE, request)).value


async def test_each_run_can_restore_what_it_was_given(
    engine: Any, nats_url: str, db_env: dict[str, str], tmp_path: Path
) -> None:
    values: dict[str, Any] = {name.lower(): value for name, value in db_env.items()}
    settings = SecuritySettings(nats_url=nats_url, AGENTFLOW_VAULT_KEY_FILE=tmp_path / "vault.key", **values)
    async with running("security", settings, security_app):
        key = await engine.submit(PARENT, definitions={"child": parse_text(CHILD).canonical()})
        state = await engine.finished(key)
        assert state.status is RunStatus.COMPLETED, state.error
        given = state.output.value["sub"]
        assert EMAIL not in str(given)
        below = subjects.key_of(key.org, state.steps["sub"].child)
        handed = (await engine.state(below)).inputs.value
        assert await restored(engine.nc, below, handed) == {"mail": EMAIL}
        assert await restored(engine.nc, key, given) == {"mail": EMAIL, "other": EMAIL.replace("jane", "john")}
