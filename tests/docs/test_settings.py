"""docs/settings.md has every setting, and nothing speaks of one that is not there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from agentctl import session
from agentctl.stack import choices, environment
from agentflow_common.settings import Settings
from agentflow_sdk.transport import connection
from agentflow_worker.settings import WorkerSettings
from tests.docs import settings
from tests.support.paths import ROOT

SOURCES = ("libs/common/src", "services/*/src", "sdk/python/src", "cli/src")
NAMES = {setting.name for setting in settings.all_settings()}
ALSO = {other for setting in settings.all_settings() for other in re.findall(r"`([A-Z_]+)` works too", setting.meaning)}


def read_from_the_environment(path: Path) -> set[str]:
    """Returns the variables that a file reads by name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.environ.get", "os.getenv"}:
            key = node.args[0]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            key = node.slice
        else:
            continue
        if isinstance(key, ast.Constant):
            found.add(key.value)
    return found


def test_every_variable_that_the_code_reads_is_in_the_table() -> None:
    read = {name for names in (*connection.ENVIRONMENT.values(), *session.ENVIRONMENT.values()) for name in names}
    for pattern in SOURCES:
        for path in ROOT.glob(f"{pattern}/**/*.py"):
            read |= read_from_the_environment(path)
    assert len(read) > 8
    assert read <= NAMES


def test_every_settings_class_of_a_service_is_in_the_table() -> None:
    there = {f"agentflow_{path.parent.parent.parent.name}" for path in ROOT.glob("services/*/src/*/settings.py")}
    assert there == {place.partition(".")[0] for place in settings.SERVICES.values()}


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("services/*/README.md")])
def test_no_page_names_a_variable_that_nothing_reads(path: Path) -> None:
    named = re.findall(r"\b(?:AGENTFLOW|SCHEDULER|WORKER)_[A-Z][A-Z0-9_]*[A-Z0-9]\b", path.read_text())
    assert set(named) <= NAMES | ALSO


def test_a_start_of_the_stack_compares_every_setting_that_it_passes_on() -> None:
    names = {setting.name for setting in settings.of_services()} | ALSO
    passed_on = {name for name in names if not name.startswith(environment.SET_BY_THE_STACK)}
    assert {name for name in passed_on if not choices.is_watched(name)} == {
        "API_KEY",  # of the command line too
        "AGENTFLOW_DATA_DIR",  # the stack sets this one and the others itself
        "AGENTFLOW_DEV_KEY_FILE",
        "AGENTFLOW_DURABILITY",
        "AGENTFLOW_FILE_ROOTS",
        "AGENTFLOW_REPLICAS",
        "AGENTFLOW_RUN_DIR",
        "AGENTFLOW_VAULT_KEY_FILE",
    }
    assert names >= choices.SETTINGS


def test_the_file_of_settings_takes_the_names_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "agentflow.yaml"
    file.write_text("AGENTFLOW_REPLICAS: 3\nworker_threads_max: 4\nLOG_FORMAT: text\n")
    monkeypatch.setenv("AGENTFLOW_CONFIG", str(file))
    monkeypatch.delenv("LOG_FORMAT", raising=False)
    read = WorkerSettings()
    assert (read.replicas, read.threads_max, read.log_format) == (3, 4, "text")
    monkeypatch.setenv("LOG_FORMAT", "json")
    assert WorkerSettings().log_format == "json"


def test_a_setting_without_a_description_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mute(Settings):
        silent: int = 1

    monkeypatch.setattr(settings, "SERVICES", {"mute": f"{__name__}.Mute"})
    monkeypatch.setattr(settings.importlib, "import_module", lambda _name: type("module", (), {"Mute": Mute}))
    with pytest.raises(ValueError, match="silent has no description"):
        list(settings.of_services())
