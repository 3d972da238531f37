"""Rules that keep the source honest to its reader: what it claims of itself is checked, and an idea has one home."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agentflow_common.runs import state as run_state
from agentflow_common.runs import timer_ids
from tests.architecture.test_stack_house_rules import (
    IMPURE,
    IMPURE_COMMON,
    ROOT,
    SERVICES,
    imports,
    name_of,
    package_of,
    python_files,
    tracked,
)

COMMON = ROOT / "libs/common/src/agentflow_common"
# Modules that decide or fold and would say so of themselves: they are held to it without the word.
FOLDS = {
    f"{room}.py"
    for room in (
        "events/__init__",
        "lanes/fold",
        "log/fold",
        "runs/fold",
        "runs/fold_decisions",
        "runs/fold_facts",
        "runs/state",
        "schedules/fold",
        "schedules/state",
    )
}
PACKAGES = {"agentflow_common", *(f"agentflow_{service}" for service in SERVICES)}
CLOCKS = {"utcnow", "today", "perf_counter", "monotonic", "time_ns"}


def sources() -> list[Path]:
    return [path for path in python_files() if "/src/" in str(path)]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def claims_purity(path: Path) -> bool:
    pure = re.compile(r"\bPure\b[.,:]")
    says_so = pure.search(path.read_text()) and pure.search(ast.get_docstring(tree(path)) or "")  # reading is quick
    return bool(says_so) or (path.is_relative_to(COMMON) and path.relative_to(COMMON).as_posix() in FOLDS)


PURE = [path for path in sources() if path.name == "machine.py" or claims_purity(path)]


def test_house_02_every_module_that_says_it_is_pure_is_looked_at() -> None:
    assert len(PURE) > 40
    assert {"attempts.py", "ending.py", "fold_facts.py", "state_schema.py", "timer_ids.py"} <= {p.name for p in PURE}


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_house_02_a_module_that_says_it_is_pure_is_pure(path: Path) -> None:
    found = imports(path)
    assert {name for name in found if name.split(".")[0] in IMPURE or name in IMPURE_COMMON} == set()
    attributes = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    assert attributes & CLOCKS == set(), "the time is an argument"
    assert not ("now" in attributes and "datetime" in found), "the time is an argument"
    assert [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.AsyncFunctionDef)] == []


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    for path in sources():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                yield path, node


def members(node: ast.ClassDef) -> set[str]:
    """Returns the names that a class and its functions define: fields, attributes, methods, arguments."""
    names: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name | ast.Attribute):
            names.add(inner.id if isinstance(inner, ast.Name) else inner.attr)
        elif isinstance(inner, ast.arg):
            names.add(inner.arg)
        elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(inner.name)
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            names |= set(re.findall(r"\w+", inner.value)) if len(inner.value) < 40 else set()
    return names


def test_house_03_a_struct_documents_no_field_that_it_does_not_have() -> None:
    wrong: list[str] = []
    for path, node in classes():
        bases = [ast.unparse(base) for base in node.bases]
        if not bases or any("Struct" not in base and "Tuple" not in base for base in bases):
            continue
        said = re.findall(r"(?:^|[.;] )([a-z_]+): ", ast.get_docstring(node) or "")
        wrong += [f"{name_of(path)}:{node.lineno} {node.name}.{name}" for name in said if name not in members(node)]
    assert wrong == []


def test_house_04_a_local_name_hides_no_imported_module() -> None:
    wrong = []
    for path in sources():
        modules = {
            alias.asname or alias.name
            for node in tree(path).body
            if isinstance(node, ast.ImportFrom)
            and node.module in {"agentflow_common", *(f"agentflow_{s}" for s in SERVICES)}
            for alias in node.names
        }
        for function in ast.walk(tree(path)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                names = (node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id in modules)
                wrong += [f"{name_of(path)}:{n.lineno} {n.id}" for n in names if isinstance(n.ctx, ast.Store)]
    assert wrong == []


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".proto", ".js"} and path != Path(__file__):
            yield path, path.read_text()


def test_house_05_no_text_refers_to_a_design_that_is_not_in_the_repository() -> None:
    wrong = [
        f"{name_of(path)}: {found}" for path, text in texts() for found in re.findall(r"\bDESIGN\b[^\n]{0,20}", text)
    ]
    assert wrong == []


def test_house_06_no_service_readme_uses_a_pillar_s_acronym_without_its_words() -> None:
    words = {"AOR": "orchestration", "CAS": "cost", "SCL": "secure", "POP": "prompt operations", "AOS": "observability"}
    for service in SERVICES:
        text = (ROOT / "services" / service / "README.md").read_text()
        for acronym, meaning in words.items():
            assert not re.search(rf"\b{acronym}\b", text) or meaning in text.lower(), f"{service}: {acronym}"


def test_house_07_no_text_dials_a_port_of_another_product() -> None:
    ours = ((name_of(path), text) for path, text in texts() if "benchmarks/peers" not in str(path))
    wrong = [name for name, text in ours if re.search(r"\b7233\b", text) and not name.startswith("tests/")]
    assert wrong == []


def test_house_08_no_message_counts_with_a_point() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.JoinedStr) and re.search(r"\}\. of \{", ast.unparse(node))
    ]
    assert wrong == [], "`number 2 of 3`, not `2. of 3`"


def test_house_09_no_module_is_imported_by_a_text_under_the_name_of_another() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in python_files()
        if "/tests/" in str(path)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module"
        if node.args and isinstance(node.args[0], ast.Constant)
    ]
    assert wrong == [], "a name that is known is imported by an import statement"


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


def test_house_10_no_line_of_a_docstring_ends_after_one_word() -> None:
    """A single word on a line that does not end its paragraph is a wrap that a later edit broke."""
    wrong = []
    for path in sources():
        for line, text in docstrings(path):
            lines = text.splitlines()
            for at in range(1, len(lines) - 1):
                alone = re.fullmatch(r"\w+[.,;]", lines[at])
                if alone and lines[at - 1].strip() and lines[at + 1].strip():
                    wrong.append(f"{name_of(path)}:{line + at} {lines[at]}")
    assert wrong == []


def test_house_11_an_object_keeps_a_value_under_one_name() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno} {ast.unparse(node)}"
        for path in sources()
        for function in ast.walk(tree(path))
        if isinstance(function, ast.FunctionDef) and function.name == "__init__"
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        if sum(isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self" for target in node.targets) > 1
        if isinstance(node.value, ast.Name)
    ]
    assert wrong == []


@pytest.mark.parametrize("service", SERVICES)
def test_house_12_the_settings_of_a_service_stand_below_its_other_rooms(service: str) -> None:
    own = {name for name in imports(package_of(service) / "settings.py") if name.startswith(f"agentflow_{service}.")}
    assert {name.split(".")[1] for name in own} <= {"bounds"}


def test_house_13_the_items_of_a_map_are_looked_up_in_one_place() -> None:
    scheduler = package_of("scheduler")
    callers = [
        path.name for path in scheduler.rglob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"_of_map", "_mapped_input"}
    ]  # fmt: skip
    assert callers == ["items.py", "items.py"]


def test_house_14_the_key_of_a_marker_is_spelled_in_one_place() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and node.value == run_state.MARKER and path.parts[-2:] != ("runs", "state.py")
    ]
    assert wrong == []


def test_engine_15_ids_of_timers_are_made_in_one_place() -> None:
    prefixes = tuple(f"{name}:" for name in vars(timer_ids) if callable(vars(timer_ids)[name]) and name.islower())
    assert "delay:" in prefixes
    wrong = []
    for path in sources():
        if path.name == "timer_ids.py":
            continue
        for node in ast.walk(tree(path)):
            head: Any = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else None
            if isinstance(head, ast.Constant) and head.value in prefixes:
                wrong.append(f"{name_of(path)}:{node.lineno} {ast.unparse(node)}")
    assert wrong == []


def test_the_kind_of_an_entity_is_read_from_its_name_in_one_place() -> None:
    prefixes = {"LANE_PREFIX", "SCHEDULE_PREFIX", "lane_", "sched_"}
    wrong = []
    for path in python_files():
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith((".startswith", ".removeprefix")):
                continue
            named = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
            named |= {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}
            named |= {inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)}
            if named & prefixes and path != COMMON / "subjects.py" and "/tests/" not in str(path):
                wrong.append(f"{name_of(path)}:{node.lineno}")
    assert wrong == [], "use `EntityKey.kind` or `subjects.kind_of`"


def test_the_engine_asks_no_entity_what_it_has() -> None:
    """What differs between the kinds of entities stands in `EntityKind` or on the base class of their decisions."""
    scheduler = package_of("scheduler")
    places = [*scheduler.glob("*.py"), *scheduler.glob("engine/*.py"), ROOT / "tests/property/entities_world.py"]
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in places
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"getattr", "hasattr"}
    ]
    assert wrong == []


NAMED_FILE = re.compile(r"(?<![\w*./-])(?:[a-z_][\w-]*/)*[a-z_]\w*\.py\b")
NAMES_OF_READERS = {"my_tools.py", "path/to/file.py"}  # they stand for a file of the reader's own
NOT_READ = {
    "CHANGELOG.md",  # is history
    "docs/glossary.md",  # test_glossary.py reads it
}


def prose(path: Path) -> Iterator[str]:
    """Returns a document without its code, or the comments and docstrings of a module."""
    source = path.read_text()
    if path.suffix == ".md":
        yield re.sub(r"^```.*?^```$", "", source, flags=re.M | re.S)
        return
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    yield from (token.string for token in tokens if token.type == tokenize.COMMENT)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def test_house_10_a_module_that_a_text_names_is_there() -> None:
    modules = [f"/{name_of(path)}" for path in python_files()]
    documents = [path for path in tracked() if path.suffix == ".md"]
    wrong = {
        f"{name_of(path)} names {name}"
        for path in (*python_files(), *documents)
        if name_of(path) not in NOT_READ
        for text in prose(path)
        for name in NAMED_FILE.findall(text)
        if name not in NAMES_OF_READERS and not any(module.endswith(f"/{name}") for module in modules)
    }
    assert wrong == set()
