"""`agentctl workflow import`: definitions to stdout or files, remarks with file and line to stderr."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.agentctl import AgentCtl
from tests.support.foreign import ARGO, FOREIGN

agentctl = AgentCtl()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("report.yaml").write_text(ARGO)
    return Path("report.yaml")


def test_an_import_prints_the_definitions_and_says_with_lines_what_is_lost(source: Path) -> None:
    done = agentctl("workflow", "import", source, "--from", "argo")
    assert [part["name"] for part in yaml.safe_load_all(done.stdout)] == ["report", "report_checks"]
    lines = done.stderr.splitlines()
    assert lines[0] == ("each part between `---` is a definition of its own: --to FILE writes them to files")
    assert lines[1].startswith("report.yaml:9: spec.synchronization.semaphores[0]: the semaphore's size stands in")
    assert lines[5].startswith("report.yaml:39: spec.templates[1].script: the script of the image python:3 is not")
    assert lines[-1] == "report.yaml: 2 definitions, 8 remarks"


def test_an_import_writes_files_that_are_valid_and_replaces_none(source: Path) -> None:
    done = agentctl("workflow", "import", source, "--from", "argo", "--to", "ours.yaml")
    assert done.stdout == "ours.yaml: written\nreport_checks.yaml: written\n"
    for name in ("ours.yaml", "report_checks.yaml"):
        agentctl("workflow", "validate", name)
    again = agentctl("workflow", "import", source, "--from", "argo", "--to", "ours.yaml", code=2)
    assert again.stderr == "error: ours.yaml: exists already\n  choose another name, or say --force\n"
    agentctl("workflow", "import", source, "--from", "argo", "--to", "ours.yaml", "--force")


def test_no_definition_is_written_over_another_one(source: Path) -> None:
    done = agentctl("workflow", "import", source, "--from", "argo", "--to", "report_checks.yaml", "--force", code=2)
    assert done.stderr == (
        "error: report_checks.yaml: two definitions would be written to this file\n  choose another name for --to\n"
    )
    assert not Path("report_checks.yaml").exists()


def test_an_import_as_json_has_definitions_and_remarks() -> None:
    done = agentctl("workflow", "import", "-", "--from", "n8n", "-o", "json", stdin=FOREIGN["n8n"])
    found = yaml.safe_load(done.stdout)
    assert [written["name"] for written in found["definitions"]] == ["Triage"]
    assert [remark["line"] for remark in found["remarks"]] == [10, 14]
    assert found["invalid"] == []


def test_an_import_that_is_not_valid_yet_is_printed_and_ends_with_a_code() -> None:
    post = '{"name": "a", "type": "n8n-nodes-base.httpRequest", "parameters": {"url": "x", "jsonBody": "{}"}}'
    done = agentctl(
        "workflow", "import", "-", "--from", "n8n", code=2, stdin=f'{{"nodes": [{post}], "connections": {{}}}}'
    )
    assert yaml.safe_load(done.stdout)["dag"]["nodes"][0]["config"]["tool_name"] == "http.get"
    assert "the definition 'imported' is not valid yet: line 8" in done.stderr
    assert "error: not valid yet: imported" in done.stderr


def test_another_engine_s_file_is_an_error_with_its_line(source: Path) -> None:
    done = agentctl("workflow", "import", source, "--from", "n8n", code=2)
    assert done.stderr.startswith("error: report.yaml:1: there are no `nodes` and `connections`")
