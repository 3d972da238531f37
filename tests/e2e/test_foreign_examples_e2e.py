"""Public examples of other engines, written as definitions of AgentFlow, give the results that they give there.

Each case of `foreign/*.yaml` names the example (`like`). It has the definition with its inputs, and the signals and
answers that it waits for. It says what is expected: the status, the output, the type of the error, steps with their
status, and the lines that the run noted outside. All runs go on at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentflow_sdk import Client
from tests.support.waiting import until_now

from .conftest import Platform

pytestmark = pytest.mark.e2e
FOLDER = Path(__file__).parent / "foreign"
WAIT_S_MAX = 120.0


def cases() -> list[dict[str, Any]]:
    return [case for path in sorted(FOLDER.glob("*.yaml")) for case in yaml.safe_load(path.read_text())]


CASES = cases()


@dataclass
class Started:
    """The runs of all cases by the names of their workflows."""

    platform: Platform
    client: Client
    runs: dict[str, str]

    def notes(self, run: str) -> list[str]:
        path = self.platform.buckets / "notes" / f"{run}.txt"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope="module")
def started(platform: Platform) -> Iterator[Started]:
    """Starts all cases, and sends what they wait for."""
    with platform.client() as client:
        runs: dict[str, str] = {}
        for case in CASES:
            for definition in [*case.get("children", []), case["definition"]]:
                client.workflows.register(json.dumps(definition))
            run = client.workflows.submit(case["definition"]["name"], case.get("inputs", {})).run_id
            runs[case["definition"]["name"]] = run
            for sent in case.get("send", []):
                client.workflows.signal(run, sent["signal"], sent["payload"])
        for case in CASES:
            if (answer := case.get("answer")) is not None:
                run = runs[case["definition"]["name"]]
                until_now(lambda run=run: any(item.run_id == run for item in client.workflows.approvals()))  # type: ignore[misc]
                (client.workflows.approve if answer["approve"] else client.workflows.reject)(run, answer["step"])
        yield Started(platform, client, runs)


def test_there_are_forty_examples_of_seven_engines() -> None:
    assert len(CASES) >= 40
    engines = {case["like"].split("/")[0] for case in CASES}
    assert engines == {
        "PrefectHQ", "argoproj", "aws-samples", "conductor-oss", "hatchet-dev", "langchain-ai", "serverlessworkflow",
    }  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case["definition"]["name"] for case in CASES])
def test_an_example_of_another_engine_has_the_same_result(started: Started, case: dict[str, Any]) -> None:
    run = started.client.workflows.wait(started.runs[case["definition"]["name"]], timeout=WAIT_S_MAX)
    expect = case["expect"]
    assert run.status.value == expect.get("status", "completed"), run.error
    if "output" in expect:
        assert run.output == expect["output"]
    if "error" in expect:
        assert run.error is not None
        assert run.error.type == expect["error"]
    statuses = {step.step: step.status.value for step in run.steps}
    assert {name: statuses.get(name) for name in expect.get("steps", {})} == expect.get("steps", {})
    if "notes" in expect:
        assert started.notes(run.run_id) == expect["notes"]
