"""Values and errors at the edge of what JSON holds: exact, or refused with their place, and never executed again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import struct_pb2

from agentflow_common import events as ev
from agentflow_common.runs.state import RunStatus
from agentflow_common.runtime.service import running
from agentflow_gateway.api import convert
from agentflow_sdk.convert import json_values as sdk
from agentflow_security.app import app as security_app
from agentflow_security.settings import SecuritySettings
from tests.support.engine import loaded

pytestmark = pytest.mark.integration
ONE = "policy: {retry: {max_attempts: 1}}"


def calls(name: str) -> int:
    return int(loaded().CALLS[name])


@pytest.fixture
async def security(nats_url: str, db_env: dict[str, str], tmp_path: Path) -> AsyncIterator[None]:
    values: dict[str, Any] = {name.lower(): value for name, value in db_env.items()}
    settings = SecuritySettings(nats_url=nats_url, AGENTFLOW_VAULT_KEY_FILE=tmp_path / "vault.key", **values)
    async with running("security", settings, security_app):
        yield


def workflow(*nodes: str) -> str:
    return "name: w\ndag:\n  nodes:\n" + "\n".join(f"    - {node}" for node in nodes)


@pytest.mark.parametrize(("where", "kind"), [("text", "odd"), ("kind", "odd\\ud800")])
async def test_engine_13_a_lone_surrogate_in_an_error_costs_one_attempt(engine: Any, where: str, kind: str) -> None:
    before = calls(f"odd_error {where}")
    node = f"{{id: s, type: function, config: {{function_name: t.odd_error, inputs: {{where: {where}}}}}, {ONE}}}"
    state = await engine.finished(await engine.submit(workflow(node)))
    assert (state.status, state.error.type) == (RunStatus.FAILED, kind)
    assert calls(f"odd_error {where}") == before + 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nan", "output.a[1]: NaN is not a JSON number"),
        ("infinity", "output: infinity is not a JSON number"),
        ("surrogate", "output.a: a text holds the lone surrogate"),
        ("key", "in a key, a text holds the lone surrogate"),
        ("digits", "output: an integer has more than 3,800 digits"),
    ],
)
async def test_engine_08_a_value_that_json_lacks_fails_the_step_once(
    engine: Any, security: None, name: str, told: str
) -> None:
    before = calls(f"odd_value {name}")
    node = f"{{id: s, type: function, config: {{function_name: t.odd_value, inputs: {{name: {name}}}}}}}"
    state = await engine.finished(await engine.submit(workflow(node)))
    assert (state.status, state.error.type) == (RunStatus.FAILED, "result_not_json")
    assert told in state.error.message
    assert calls(f"odd_value {name}") == before + 1


@pytest.mark.parametrize("name", ["deep", "deeper", "bottomless"])
async def test_engine_13_a_value_that_is_nested_too_deeply_fails_its_step_once(
    engine: Any, security: None, name: str
) -> None:
    before = calls(f"odd_value {name}")
    node = f"{{id: s, type: function, config: {{function_name: t.odd_value, inputs: {{name: {name}}}}}, {ONE}}}"
    state = await engine.finished(await engine.submit(workflow(node)))
    assert (state.status, state.error.type in {"too_deep", "result_not_json"}) == (RunStatus.FAILED, True)
    assert calls(f"odd_value {name}") == before + 1


async def test_engine_04_a_step_whose_result_json_lacks_has_acted_and_is_undone(engine: Any) -> None:
    undo = "compensate_with: {type: function, config: {function_name: t.add, inputs: {a: 1}}}"
    tool = "{id: s, type: tool, config: {tool_name: t.odd_payment, tool_args: {}}, " + undo + "}"
    key = await engine.submit(workflow(tool))
    state = await engine.finished(key)
    assert (state.status, state.error.type, state.error.retryable) == (RunStatus.FAILED, "result_not_json", False)
    assert "the step took effect" in state.error.message
    assert (await engine.until(key, ev.RunFailed)).compensated == ("s",)


async def test_engine_04_an_effect_is_not_repeated_because_its_result_could_not_be_examined(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentflow_worker.tasks.reports.PATIENCE_S", 0.1)  # and there is no security service
    before = calls("text_payment")
    policy = "policy: {retry: {max_attempts: 3, initial_ms: 1}}"
    undo = "compensate_with: {type: function, config: {function_name: t.add, inputs: {a: 1}}}"
    key = await engine.submit(
        workflow(f"{{id: s, type: tool, config: {{tool_name: t.text_payment, tool_args: {{}}}}, {policy}, {undo}}}")
    )
    state = await engine.finished(key)
    assert (state.status, state.error.retryable, state.steps["s"].attempt) == (RunStatus.FAILED, False, 1)
    assert calls("text_payment") == before + 1
    assert (await engine.until(key, ev.RunFailed)).compensated == ("s",)


@pytest.mark.parametrize(("name", "value"), [("huge", 2**60 + 1), ("huger", -(2**70))])
async def test_engine_08_an_integer_of_any_size_stays_exact_to_the_reader(
    engine: Any, security: None, name: str, value: int
) -> None:
    text = workflow(
        f"{{id: s, type: function, config: {{function_name: t.odd_value, inputs: {{name: {name}}}}}}}",
        f"{{id: n, type: wait, depends_on: [s], config: {{duration: '{{{{0 if s.output == {value} else 99999}}}}'}}}}",
    )
    text += "\noutputs: {it: s.output, sum: '{{s.output + 1}}', text: 'is {{s.output}}'}\n"
    state = await engine.finished(await engine.submit(text))
    assert state.status is RunStatus.COMPLETED, state.error
    assert state.output.value == {"it": value, "sum": value + 1, "text": f"is {value}"}
    shown = struct_pb2.Value()
    convert.set_value(shown, state.output.value)
    assert sdk.from_value(shown) == {"it": str(value), "sum": str(value + 1), "text": f"is {value}"}
