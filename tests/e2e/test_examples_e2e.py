"""Every example runs, offline, and does what its first lines say."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.paths import EXAMPLES

from .conftest import Platform

if TYPE_CHECKING:
    from agentflow_sdk import Client, Run

pytestmark = pytest.mark.e2e


def run(client: Client, name: str, inputs: dict[str, Any]) -> Run:
    return client.workflows.run((EXAMPLES / f"{name}.yaml").read_text(), inputs, timeout=180)


def statuses(result: Run) -> dict[str, str]:
    return {step.step: step.status.value for step in result.steps}


def test_map_reduce(client: Client) -> None:
    result = run(client, "map_reduce", {"document_key": "vendor_review.pdf"})
    pieces = result.output["pieces"]
    assert pieces >= 4
    assert len(result.output["parts"]) == pieces
    assert all(part["text"] for part in result.output["parts"])
    assert {f"summarise[{index}]" for index in range(pieces)} <= set(statuses(result))
    assert len(result.output["summary"]) > 100


@pytest.mark.parametrize(
    ("content", "kind", "taken", "skipped"),
    [
        (
            "The harbour was busy all day. Three boats came in before noon, and two of them carried grain.",
            "text", "analyze_text", "describe_image",
        ),
        ("harbour.jpg: photograph of three boats at dusk", "image", "describe_image", "analyze_text"),
    ],
)  # fmt: skip
def test_conditional(client: Client, content: str, kind: str, taken: str, skipped: str) -> None:
    result = run(client, "conditional", {"content": content})
    assert result.output["kind"] == kind
    assert result.output["result"]
    assert statuses(result) == {"classify": "completed", taken: "completed", skipped: "skipped", "merge": "completed"}


@pytest.mark.parametrize(("key", "allowed"), [("praise.txt", True), ("insult.txt", False)])
def test_content_moderation(platform: Platform, client: Client, key: str, allowed: bool) -> None:
    result = run(client, "content_moderation", {"key": key})
    assert (result.output["decision"] == "allow") is allowed
    verdict = (platform.buckets / "posts" / "verdicts" / f"{key}.txt").read_text()
    assert verdict.startswith(f"{key}: {result.output['decision']}")
    assert result.output["stored"] == f"verdicts/{key}.txt"
    assert statuses(result)["escalate"] == ("skipped" if allowed else "completed")
    assert (result.output["escalated"] is None) is allowed
    assert (platform.buckets / "posts" / "escalated" / f"{key}.txt").exists() is not allowed


@pytest.mark.parametrize(
    ("text", "language", "skipped"),
    [
        ("Thank you for your message. We open the new account today and send you the contract.", "en", "english"),
        ("Vielen Dank für Ihre Nachricht. Wir eröffnen das Konto heute und senden Ihnen den Vertrag.", "de", "german"),
    ],
)
def test_translation(client: Client, text: str, language: str, skipped: str) -> None:
    result = run(client, "translation", {"text": text})
    assert result.output["language"] == language
    assert set(result.output["translations"]) == {"en", "de", "fr"} - {language}
    assert result.output["left_out"] == [language]
    assert [name for name, status in statuses(result).items() if status == "skipped"] == [skipped]


def test_a_twin_runs_as_a_program(platform: Platform) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "sdk" / "conditional.py", "harbour.jpg: photograph of three boats at dusk"],
        env={"AGENTFLOW_ENDPOINT": platform.stack.grpc, "AGENTFLOW_TOKEN": platform.stack.dev_key},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"kind": "image"' in done.stdout
