"""Each YAML example has a twin made with the SDK's builder, and both are one definition."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from agentflow_common.definition.model import Definition
from agentflow_common.definition.parse import parse_dict, parse_text
from tests.support.paths import EXAMPLES

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


def twin(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES / "sdk"))
    for module in (name, "running"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return __import__(name).flow


def of_yaml(name: str) -> Definition:
    return parse_text((EXAMPLES / f"{name}.yaml").read_text(), name)


def test_the_well_known_shapes_are_there() -> None:
    assert {"document_analysis", "map_reduce", "conditional", "content_moderation", "translation"} <= set(NAMES)
    assert {"code_review", "hierarchical_summary", "cost_optimised", "two_person_approval", "saga"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_yaml_and_sdk_say_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written, built = of_yaml(name), parse_dict(twin(name, monkeypatch).validate().to_dict())
    assert built.canonical() == written.canonical()
    assert built.digest() == written.digest()


@pytest.mark.parametrize("name", NAMES)
def test_a_definition_that_goes_to_yaml_and_back_keeps_its_digest(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = twin(name, monkeypatch).to_yaml()
    assert parse_text(text).digest() == of_yaml(name).digest()


@pytest.mark.parametrize("name", NAMES)
def test_every_built_in_that_an_example_names_exists(name: str) -> None:
    from agentflow_worker.registry import default_registry

    registry = default_registry()
    works = [work for _, work in of_yaml(name).works()]
    prompts = {path.stem for path in (EXAMPLES.parent / "services/prompt/prompts").glob("*.yaml")}
    assert {work.config.prompt_ref.split("@")[0] for work in works if work.type == "llm"} <= prompts
    tools = [work.config.tool_name for work in works if work.type == "tool"]
    assert [name for name in tools if ("tool", name) not in registry] == []
    functions = [work.config.function_name for work in works if work.type == "function"]
    assert [name for name in functions if ("function", name) not in registry] == []
