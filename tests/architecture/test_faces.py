"""The public face of a room: `__all__` of its `__init__` names the modules that other rooms may import."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.architecture import map as code_map
from tests.architecture.test_stack_house_rules import python_files


@cache
def face(package: str) -> frozenset[str] | None:
    """Returns the names in the `__all__` of a package; None if its `__init__` holds code of its own."""
    names: frozenset[str] = frozenset()
    for node in ast.parse(code_map.modules()[package].read_text()).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == "__all__":
            names = frozenset(ast.literal_eval(node.value))  # type: ignore[union-attr]
        elif isinstance(target, ast.Name) and target.id == "__version__":
            continue
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            return None
    return names


PACKAGES = sorted(name for name, path in code_map.modules().items() if path.name == "__init__.py")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_it_holds(package: str) -> None:
    text = ast.get_docstring(ast.parse(code_map.modules()[package].read_text())) or ""
    assert len(text) > 20 and text.split(".")[0] != package, "its __init__ begins with a sentence about the room"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_face_names_modules_that_exist(package: str) -> None:
    names = face(package) or frozenset()
    assert [name for name in sorted(names) if f"{package}.{name}" not in code_map.modules()] == []


def test_other_rooms_import_only_what_a_room_shows() -> None:
    wrong = []
    for module, targets in sorted(code_map.imports_of_modules().items()):
        for target in sorted(targets):
            parts = target.split(".")
            for at in range(1, len(parts)):
                room = ".".join(parts[:at])
                names = face(room)
                if (
                    module != room
                    and not module.startswith(f"{room}.")
                    and names is not None
                    and parts[at] not in names
                ):
                    wrong.append(
                        f"{module} imports {target}: add {parts[at]!r} to __all__ of {room}, or import another"
                    )
    assert wrong == []


def defined_in(package: str) -> frozenset[str]:
    """Returns what the modules of a package and of its rooms define at their top, and the names of these modules."""
    found: set[str] = set()
    for module, path in code_map.modules().items():
        if module.startswith(f"{package}."):
            found.add(module.rpartition(".")[2])
        elif module != package:
            continue
        for node in ast.parse(path.read_text()).body:
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    found.add(name)
                case ast.AnnAssign(target=ast.Name(name)) | ast.Assign(targets=[ast.Name(name)]):
                    found.add(name)
    return frozenset(found)


def taken_from(package: str, path: Path) -> set[str]:
    """Returns the names that a file takes from `a.b`: by `from a.b import name`, or as `b.name`."""
    above, _, own_name = package.rpartition(".")
    tree = ast.parse(path.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    called = {a.asname or a.name for node in imports if node.module == above for a in node.names if a.name == own_name}
    direct = {alias.name for node in imports if node.module == package for alias in node.names}
    through = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in called
    }
    return {name for name in direct | through if name != "*" and not name.startswith("__")}


OPEN_FACES = [name for name in PACKAGES if "import *" in code_map.modules()[name].read_text()]


@pytest.mark.parametrize("package", OPEN_FACES)
def test_a_face_of_stars_gives_only_what_its_room_defines(package: str) -> None:
    own = defined_in(package)
    taken = {path: taken_from(package, path) for path in python_files()}
    assert sum(map(len, taken.values())) > 30
    assert {str(path): names - own for path, names in taken.items() if names - own} == {}
