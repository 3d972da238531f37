"""The map of the code: which module imports which, in layers. `python -m tests.architecture.map` prints it.

A room is a folder of a package, or a module at the top of it. An import counts wherever it stands: at the top of a
module, inside a function, or for type checking alone.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.architecture.test_stack_house_rules import tracked
from tests.support.paths import ROOT

# Lowest first. A room of the shared library may import from its own layer and from those below it.
COMMON_LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "errors",
        "field_texts",
        "hints",
        "tasks",
        "ids",
        "money",
        "clock",
        "settings",
        "subjects",
        "screening",
        "span_ids",
        "telemetry",
        "metrics",
        "json_values",
        "places",
        "package_files",
        "private_words",
    ),
    ("events",),
    ("log", "expressions"),
    ("definition",),
    ("runs", "lanes", "schedules"),
    ("connections",),
    ("rpc",),
    ("runtime",),
    ("embedded",),
)
PACKAGES = (
    "agentflow_common",
    *(f"agentflow_{s}" for s in ("gateway", "scheduler", "worker", "cost", "security", "prompt", "trace")),
    "agentflow_sdk",
    "agentctl",
)

Graph = Mapping[str, frozenset[str]]


@cache
def modules() -> dict[str, Path]:
    """Returns the path of every product module by its dotted name; a package's name stands for its `__init__`."""
    found: dict[str, Path] = {}
    for path in tracked():
        relative = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py" and "/src/" in relative:
            parts = relative.split("/src/", 1)[1].removesuffix(".py").split("/")
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imported(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known:
                    yield inner
                elif node.module in known:
                    yield node.module


@cache
def imports_of_modules() -> Graph:
    """Returns, for every product module, the product modules that it imports."""
    known = modules()
    return {name: frozenset(_imported(path, known)) - {name} for name, path in known.items()}


def circles(graph: Graph) -> list[list[str]]:
    """Returns every set of nodes that reach each other (Tarjan's strongly connected components of two or more)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph[node]):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def room_of(module: str) -> str:
    """Returns `package.room`: the folder, or the module at the top of the package."""
    return ".".join(module.split(".")[:2])


def imports_of_rooms(package: str) -> Graph:
    """Returns which room of the package imports which other room of it."""
    graph: dict[str, set[str]] = defaultdict(set)
    for module, targets in imports_of_modules().items():
        if module.startswith(f"{package}."):
            own = room_of(module)
            graph[own] |= {room_of(t) for t in targets if t.startswith(f"{package}.") and room_of(t) != own}
    return {room: frozenset(targets) for room, targets in graph.items()}


def layers(graph: Graph) -> list[list[str]]:
    """Returns the nodes in layers, lowest first: each above all that it imports. The graph must have no circle."""
    height: dict[str, int] = {}

    def measure(node: str) -> int:
        if node not in height:
            height[node] = 1 + max((measure(target) for target in graph[node]), default=-1)
        return height[node]

    for node in graph:
        measure(node)
    return [sorted(n for n in height if height[n] == level) for level in range(max(height.values(), default=-1) + 1)]


def crowded(limit: int = 15) -> dict[str, int]:
    """Returns the folders of packages with more than `limit` modules beside `__init__`."""
    count: dict[str, int] = defaultdict(int)
    for path in modules().values():
        if path.name != "__init__.py":
            count[path.parent.relative_to(ROOT).as_posix()] += 1
    return {folder: n for folder, n in sorted(count.items()) if n > limit}


def upward() -> list[str]:
    """Returns the imports of the shared library that lead from a layer to a higher one."""
    height = {f"agentflow_common.{room}": level for level, rooms in enumerate(COMMON_LAYERS) for room in rooms}
    return [
        f"{module} imports {target}"
        for module, targets in sorted(imports_of_modules().items())
        for target in sorted(targets)
        if room_of(module) in height and height[room_of(module)] < height.get(room_of(target), -1)
    ]


def _names(rooms: Iterable[str]) -> str:
    return "  ".join(room.partition(".")[2] for room in rooms)


def main() -> int:
    """Prints the rooms of each package in layers, highest first. Returns 1 if a rule is broken, else 0."""
    faults: list[str] = []
    for package in PACKAGES:
        graph = imports_of_rooms(package)
        print(f"{package}: {len(graph)} rooms, {sum(map(len, graph.values()))} imports between them")
        rings = circles(graph)
        faults += [f"circle: {' <-> '.join(ring)}" for ring in rings]
        if not rings:
            ordered = (
                [[room for name in rooms if (room := f"{package}.{name}") in graph] for rooms in COMMON_LAYERS]
                if package == "agentflow_common"
                else layers(graph)
            )
            for level, rooms in reversed(list(enumerate(ordered, 1))):
                print(f"  {level}  {_names(rooms)}")
    faults += [f"circle: {' <-> '.join(ring)}" for ring in circles(imports_of_modules())]
    faults += [f"upward: {line}" for line in upward()]
    faults += [f"crowded: {folder} holds {n} modules" for folder, n in crowded().items()]
    print("\n".join(faults) or "no circle, no import upwards, no folder with more than 15 modules")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
