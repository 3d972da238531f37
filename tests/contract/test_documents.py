"""What the documents show is true: links lead somewhere, examples parse, metrics and subjects are all described."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentflow_common.definition.json_schema import workflow_schema
from agentflow_common.definition.parse import parse_text
from tests.support.paths import ROOT
from tests.support.run_driver import RunDriver

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "deploy/README.md", ROOT / "examples/README.md"]
)
PACKAGE_READMES = sorted([*ROOT.glob("services/*/README.md"), ROOT / "sdk/python/README.md", ROOT / "cli/README.md"])
LINKING = sorted({*DOCUMENTS, *PACKAGE_READMES})
README_LINES_MAX = 180


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.M | re.S)


@pytest.mark.parametrize("path", LINKING, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def anchors(path: Path) -> set[str]:
    """Returns the anchors that a page's headings get: lower case, without punctuation, a dash for each space."""
    prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
    headings = [heading.lower() for heading in re.findall(r"^#+ (.*)$", prose, re.M)]
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", LINKING, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_into_a_page_name_one_of_its_headings(path: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", path.read_text()):
        if "://" not in target:
            page = (path.parent / target).resolve() if target else path
            assert anchor in anchors(page), f"{path.name} links to {target}#{anchor}"


@pytest.mark.parametrize("path", PACKAGE_READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_readme_of_a_package_names_modules_that_are_there(path: Path) -> None:
    bases = [path.parent, ROOT, *path.parent.glob("src/*"), ROOT / "libs/common/src/agentflow_common"]
    bases += [folder for folder in path.parent.glob("src/*/*") if folder.is_dir()]
    named = re.findall(r"`([\w./-]+(?:\.py|/))`", path.read_text())
    assert [name for name in named if not any((base / name).exists() for base in bases)] == []


def test_the_index_lists_every_page() -> None:
    listed = set(re.findall(r"\]\(([^)#\s]+)", (ROOT / "docs/README.md").read_text()))
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages - listed == set()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES_MAX


def test_the_readme_shows_a_workflow_that_is_valid() -> None:
    (text,) = blocks(ROOT / "README.md", "yaml")
    assert parse_text(text).name == "read_document"


def test_the_readme_builds_a_workflow_that_is_valid() -> None:
    (first,) = blocks(ROOT / "README.md", "python")
    flow = first.split("\nwith Client", 1)[0]
    names: dict[str, object] = {}
    exec(compile(flow, "README.md", "exec"), names)
    built = names["flow"]
    definition = parse_text(built.to_yaml())  # type: ignore[attr-defined]
    (text,) = blocks(ROOT / "README.md", "yaml")
    assert definition.digest() == parse_text(text).digest()


def test_engine_18_no_readme_of_a_service_uses_an_acronym_that_it_does_not_explain() -> None:
    known = {"API", "ACK", "SQL", "KV", "JSON", "YAML", "HTTP", "HTTPS", "URL", "NATS", "UTC", "PDF", "HTML", "TLS"}
    for path in ROOT.glob("services/*/README.md"):
        title = path.read_text().splitlines()[0]
        assert set(re.findall(r"\b[A-Z]{2,}\b", title)) <= known, f"{path}: {title}"


def test_engine_18_no_document_names_a_port_that_nothing_listens_on() -> None:
    for path in [*ROOT.glob("**/README.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("sdk/python/src/**/*.py")]:
        if ".venv" not in path.parts and "node_modules" not in path.parts:
            assert "7233" not in path.read_text(), f"{path} names another product's port"


def test_every_guarantee_of_the_engine_names_a_test_that_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs/engine.md").read_text())
    assert len(named) > 30
    for file, name in named:
        source = ROOT / file
        assert source.exists(), file
        assert re.search(rf"^(async )?def {name}\(", source.read_text(), re.M), f"{file} has no {name}"


@pytest.mark.parametrize("text", [*blocks(ROOT / "docs/workflows.md", "yaml"), *blocks(ROOT / "docs/tools.md", "yaml")])
def test_every_workflow_in_the_reference_is_valid(text: str) -> None:
    assert parse_text(text).name


def test_the_loop_of_the_reference_asks_a_model_again_until_the_text_is_short() -> None:
    (text,) = (text for text in blocks(ROOT / "docs/workflows.md", "yaml") if text.startswith("name: refine\n"))
    answer = {"provider": "p", "model": "m", "finish_reason": "stop"}
    run = RunDriver(text).submit({"draft": "a draft"})
    assert run.inputs("better@1") == {"content": "a draft"}
    run.completes("better@1", {"text": "long " * 100, **answer})
    assert run.inputs("better@2") == {"content": "long " * 100}
    run.completes("better@2", {"text": "short", **answer})
    assert run.statuses == {"better": "completed", "better@1": "completed", "better@2": "completed"}


def fields(schema: object) -> set[str]:
    """Returns the names of all properties that a JSON Schema defines, at any depth."""
    if isinstance(schema, list):
        return set().union(*map(fields, schema))
    if not isinstance(schema, dict):
        return set()
    names = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
    return names.union(*map(fields, schema.values()))


def test_the_reference_names_every_field_of_a_definition() -> None:
    named = set(re.findall(r"\w+", (ROOT / "docs/workflows.md").read_text()))
    assert fields(workflow_schema()) - named == set()
