"""Models that a definition pins are checked against the prices of the cost service, over every door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentflow_common.runtime.service import running
from agentflow_cost.app import app as cost_app
from agentflow_cost.settings import CostSettings
from agentflow_sdk import InvalidArgumentError, Workflow
from tests.support.agentctl import run_agentctl
from tests.support.gateway import GatewayUnderTest, database_env, running_gateway

pytestmark = pytest.mark.integration

ASKS = """
name: asks
dag:
  nodes:
    - {id: own, type: llm, config: {prompt: "Say hello", model: MODEL}}
    - {id: other, type: llm, config: {prompt: "Say hello"}, policy: {model: MODEL}}
"""
FILE = """
models:
  - {provider: local, model: extractive-1, tiers: [Bronze], price: {input: "0.05", output: "0.10"}}
  - {provider: openai, model: house-model, price: {input: "1", output: "2"}}
prices:
  sim/*: {input: "1", output: "2"}
"""


@pytest.fixture
async def gateway(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[GatewayUnderTest]:
    async with running_gateway(nats_url, db_env) as gateway:
        yield gateway


@pytest.fixture
async def cost(gateway: GatewayUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A cost service whose list has a model of the house."""
    (tmp_path / "models.yaml").write_text(FILE)
    env = {"NATS_URL": gateway.context.settings.nats_url, "AGENTFLOW_MODELS_FILE": str(tmp_path / "models.yaml")}
    for name, value in {**database_env(gateway), **env}.items():
        monkeypatch.setenv(name, value)
    async with running("cost", CostSettings(), cost_app):
        yield


def asks(model: str, name: str = "asks") -> str:
    return ASKS.replace("MODEL", model).replace("asks", name)


@pytest.mark.usefixtures("cost")
async def test_a_model_without_a_price_is_refused_with_the_names_near_it(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        with pytest.raises(InvalidArgumentError) as caught:
            await client.workflows.register(asks("openai/gpt-4oo-mini"))
        (problem,) = caught.value.problems
        assert problem.place == "line 5, dag.nodes[0].config.model"
        assert problem.message == "unknown model 'openai/gpt-4oo-mini': no price is known, so its calls are refused"
        assert "did you mean 'openai/gpt-4o-mini'" in problem.fix and "AGENTFLOW_MODELS_FILE" in problem.fix
        checked = await client.workflows.validate(asks("local/extractve-1"))
        assert "'local/extractive-1'" in checked.problems[0].fix
        checked = await client.workflows.validate(asks("opanai/gpt-4o"))
        assert "did you mean 'openai/gpt-4o'" in checked.problems[0].fix
        checked = await client.workflows.validate(asks("openai/hause-model"))
        assert "'openai/house-model'" in checked.problems[0].fix
        with pytest.raises(InvalidArgumentError, match="unknown model 'nobody/nothing'"):
            await client.workflows.submit(asks("nobody/nothing"))
        built = Workflow("built").llm("a", prompt="Say hello", model="openai/gtp-9")
        with pytest.raises(InvalidArgumentError, match="unknown model 'openai/gtp-9'"):
            await client.workflows.register(built)


@pytest.mark.usefixtures("cost")
@pytest.mark.parametrize(
    "model", ["openai/house-model", "sim/whatever", "local/extractive-1", "anthropic/claude-3-haiku"]
)
async def test_a_model_with_a_price_is_accepted(gateway: GatewayUnderTest, model: str) -> None:
    async with gateway.client() as client:
        assert (await client.workflows.register(asks(model))).warnings == ()
        assert (await client.workflows.submit("asks")).run_id


@pytest.mark.usefixtures("cost")
async def test_an_unknown_model_in_a_map_in_a_map_and_in_a_subworkflow_is_found(gateway: GatewayUnderTest) -> None:
    inner = "{type: llm, config: {prompt: 'Say {{b}}', model: openai/gpt-0}}"
    maps = f"{{over: [[1]], item: a, body: {{type: map, config: {{over: '{{{{a}}}}', item: b, body: {inner}}}}}}}"
    async with gateway.client() as client:
        checked = await client.workflows.validate(f"name: m\ndag: {{nodes: [{{id: m, type: map, config: {maps}}}]}}\n")
        assert [problem.place for problem in checked.problems] == [
            "line 2, dag.nodes[0].config.body.config.body.config.model"
        ]
        await client.workflows.register(asks("openai/gpt-0", "below"), allow_unknown=True)
        checked = await client.workflows.validate(
            "name: m\ndag: {nodes: [{id: m, type: subworkflow, config: {workflow: below}}]}\n"
        )
        assert [problem.place for problem in checked.problems] == ["below@1: dag.nodes[0].config.model"]


@pytest.mark.usefixtures("cost")
async def test_allow_unknown_makes_it_a_warning(gateway: GatewayUnderTest, tmp_path: Path) -> None:
    text = asks("openai/gpt-99")
    async with gateway.client() as client:
        made = await client.workflows.register(text, allow_unknown=True)
        assert [warning.place for warning in made.warnings] == ["line 5, dag.nodes[0].config.model"]
        assert (await client.workflows.validate(text, allow_unknown=True)).valid
        with pytest.raises(InvalidArgumentError, match="unknown model 'openai/gpt-99'"):
            await client.workflows.submit("asks")
    (tmp_path / "flow.yaml").write_text(asks("openai/gpt-99", "by_hand"))
    words = ("workflow", "register", str(tmp_path / "flow.yaml"))
    code, _, err = await run_agentctl(gateway.endpoint, gateway.key, *words)
    assert code == 2 and "unknown model 'openai/gpt-99'" in err
    code, out, err = await run_agentctl(gateway.endpoint, gateway.key, *words, "--allow-unknown")
    assert (code, "by_hand@1 registered" in out) == (0, True)
    assert "warning: " in err and "unknown model 'openai/gpt-99'" in err


async def test_nothing_is_refused_while_the_cost_service_is_away(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        assert (await client.workflows.register(asks("openai/gpt-99"))).warnings == ()
