"""Definitions and commands of the predecessors, letter by letter as their users wrote them, on a running stack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agentflow_sdk import NotFoundError, Workflow
from tests.support.paths import EXAMPLES

if TYPE_CHECKING:
    from agentflow_sdk import Run

from .conftest import Platform

pytestmark = pytest.mark.e2e

SHAPES = Path(__file__).parent / "predecessors"
PROMPTS = {  # name@version: (what its users had written, the hint for the offline provider)
    "document_analyzer@3": ("Analyze this document: {{ content }}", "summarize"),
    "chunk_analyzer@2": ("Analyze this part: {{ chunk }}", "keywords"),
    "summarizer@1": ("Summarise: {{ chunks }}", "summarize"),
    "document_classifier@1": ("What is this? {{ content }}", "classify"),
    "text_processor@2": ("Process: {{ content }}", "summarize"),
    "text_processor@1": ("Process: {{ text }}", "summarize"),
    "simple_analyzer@1": ("Look at: {{ text }}", "keywords"),
    "advanced_analyzer@3": ("Study: {{ text }}", "summarize"),
    "content_classifier@2": ("Classify: {{ content }}", "classify"),
    "moderation_engine@1": ("Moderate {{ type }}: {{ content }}", "moderate"),
}
CHAPTER = "Boats sail on the river every summer. The harbour opened in May and it never closes.\n\n"


@pytest.fixture(scope="module")
def theirs(platform: Platform) -> Platform:
    """An org of the predecessors' users, with their prompts and registered workflows, made by their commands."""
    key = platform.make_key("read,write,admin", org="theirs")
    platform = Platform(platform.stack, platform.buckets, platform.files, key)
    for ref, (text, task) in sorted(PROMPTS.items()):
        name, _, version = ref.partition("@")
        with platform.client() as client:
            try:
                newest = client.prompts.get(name).version if name not in BUILT_IN else 0
            except NotFoundError:
                newest = 0
        for number in range(newest + 1, int(version) + 1):
            template = text if number == int(version) else f"{text} ({number})"
            made = platform.cli("prompt", "create", name, "--template", template, "--task", task)
            assert made.returncode == 0, made.stderr
    for name in ("document_analysis", "map_reduce_analysis", "conditional_processing"):
        done = platform.cli("workflow", "register", str(SHAPES / f"{name}.yaml"))
        assert done.returncode == 0, done.stderr
    return platform


BUILT_IN = {"document_analyzer", "summarizer"}  # an org has the built-in prompt only once it was asked for


def submit(platform: Platform, name: str, inputs: dict[str, Any]) -> Run:
    """Runs their command `workflow submit NAME --inputs '{...}'`."""
    done = platform.cli("workflow", "submit", name, "--inputs", json.dumps(inputs), "--wait", "-o", "json")
    assert done.returncode == 0, done.stderr
    run = done.stderr.split("run ")[1].split()[0]
    with platform.client() as client:
        return client.workflows.get(run)


def outputs(run: Run) -> dict[str, Any]:
    return {step.step: step.output for step in run.steps}


def statuses(run: Run) -> dict[str, str]:
    return {step.step: step.status.value for step in run.steps}


def test_a_prompt_is_read_by_name_and_version(theirs: Platform) -> None:
    done = theirs.cli("prompt", "get", "chunk_analyzer", "2", "-o", "json")
    assert json.loads(done.stdout)["template"] == "Analyze this part: {{ chunk }}"
    older = theirs.cli("prompt", "get", "chunk_analyzer", "1", "-o", "json")
    assert json.loads(older.stdout)["template"] == "Analyze this part: {{ chunk }} (1)"


def test_document_analysis(theirs: Platform) -> None:
    bucket = theirs.buckets / "documents"
    bucket.mkdir(exist_ok=True)
    (bucket / "sample.md").write_text(CHAPTER * 3)
    text = (SHAPES / "document_analysis.yaml").read_text().replace("bucket: documents", "bucket: file://documents")
    with theirs.client() as client:
        run = client.workflows.run(text, {"document_key": "sample.md"}, unregistered=True, timeout=120)
    assert statuses(run) == {"ingest": "completed", "analyze": "completed"}
    assert "harbour" in outputs(run)["analyze"]["text"]


def test_map_reduce_takes_the_text_of_the_run_and_the_list_along_the_edge(theirs: Platform) -> None:
    run = submit(theirs, "map_reduce_analysis", {"text": CHAPTER * 40})
    found = outputs(run)
    chunks = found["split"]["chunks"]
    assert len(chunks) == found["split"]["count"] == 4
    assert [found[f"map_analyze[{number}]"]["text"] != "" for number in range(4)] == [True] * 4
    assert statuses(run)["reduce_summarize"] == "completed"


def test_conditional_processing_of_a_text(theirs: Platform) -> None:
    run = submit(theirs, "conditional_processing", {"content": CHAPTER * 3})
    assert statuses(run) == {
        "classify": "completed", "process_text": "completed", "process_image": "skipped", "merge": "completed",
    }  # fmt: skip
    merged = outputs(run)["merge"]
    assert merged["sources"] == ["process_text"]
    assert "harbour" in merged["text"]


def test_conditional_processing_of_an_image(theirs: Platform) -> None:
    run = submit(theirs, "conditional_processing", {"content": "boat.png a photo, image/png, 800x600 pixels"})
    assert statuses(run)["process_text"] == "skipped"
    assert outputs(run)["merge"] == {
        "merged": {"image": "boat.png", "size": 43}, "count": 1, "sources": ["process_image"],
    }  # fmt: skip


def moderation() -> Workflow:
    return (
        Workflow("content_moderation").version(1)
        .tool("ingest", "s3.fetch", bucket="file://user-content", key="{{content_id}}")
        .llm("classify", "content_classifier@2").inputs(content="ingest.output").depends_on("ingest")
        .llm("moderate", "moderation_engine@1").inputs(content="ingest.output", type="classify.output.type")
        .quality("Gold").depends_on("classify")
        .tool("store", "s3.put", bucket="file://moderation-results", key="{{content_id}}/result.json",
              body="moderate.output").depends_on("moderate")
    )  # fmt: skip


def test_content_moderation_stores_its_body(theirs: Platform) -> None:
    (theirs.buckets / "user-content").mkdir(exist_ok=True)
    (theirs.buckets / "moderation-results").mkdir(exist_ok=True)
    (theirs.buckets / "user-content" / "upload-123").write_text("What a lovely harbour, thank you all.")
    with theirs.client() as client:
        run = client.workflows.run(moderation(), {"content_id": "upload-123"}, timeout=120)
    stored = json.loads((theirs.buckets / "moderation-results" / "upload-123" / "result.json").read_text())
    assert stored == outputs(run)["moderate"]


def cost_optimised() -> Workflow:
    return (
        Workflow("cost_optimized_processing").version(1)
        .llm("preprocess", "text_processor@1").quality("Bronze").inputs(text="{{input_text}}")
        .function("route", "complexity_router", threshold=0.8).inputs(text="preprocess.output").depends_on("preprocess")
        .llm("simple_analyze", "simple_analyzer@1").quality("Bronze").inputs(text="preprocess.output")
        .condition("route.output.complexity < 0.8").depends_on("route")
        .llm("complex_analyze", "advanced_analyzer@3").quality("Gold").inputs(text="preprocess.output")
        .condition("route.output.complexity >= 0.8").depends_on("route")
        .function("merge", "result_merger", strategy="priority")
        .inputs(simple="simple_analyze.output", complex="complex_analyze.output", routing="route.output")
        .depends_on("simple_analyze", "complex_analyze")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("The cat sat on the mat. It was warm.", "simple_analyze"),
     ((EXAMPLES / "data" / "vendor_review.md").read_text(), "simple_analyze")],
)  # fmt: skip
def test_cost_optimised_processing_routes_by_complexity_and_merges_by_priority(
    theirs: Platform, text: str, chosen: str
) -> None:
    with theirs.client() as client:
        run = client.workflows.run(cost_optimised(), {"input_text": text}, timeout=120)
    found = outputs(run)
    assert statuses(run)[chosen] == "completed"
    assert found["route"]["complexity"] == found["route"]["score"]
    assert found["merge"]["merged"]["complexity"] == found["route"]["complexity"]
    assert found["merge"]["text"] == found[chosen]["text"]
