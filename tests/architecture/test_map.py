"""The map of the code keeps its shape: no circle of imports, no import upwards, no crowded folder."""

from __future__ import annotations

import pytest

from agentflow_common.definition.walks import reachable
from tests.architecture import map as code_map


def test_no_folder_of_a_package_holds_more_than_fifteen_modules() -> None:
    assert code_map.crowded() == {}


def test_every_room_of_the_shared_library_has_a_layer() -> None:
    rooms = {room.partition(".")[2] for room in code_map.imports_of_rooms("agentflow_common")}
    assert rooms == {room for layer in code_map.COMMON_LAYERS for room in layer}


def test_no_module_of_the_shared_library_imports_from_a_higher_layer() -> None:
    assert code_map.upward() == []


@pytest.mark.parametrize("package", code_map.PACKAGES)
def test_no_circle_of_imports_joins_the_rooms_of_a_package(package: str) -> None:
    assert code_map.circles(code_map.imports_of_rooms(package)) == []


def test_no_circle_of_imports_joins_modules() -> None:
    assert code_map.circles(code_map.imports_of_modules()) == []


def test_a_worker_does_not_build_the_models_of_definitions() -> None:
    needed = reachable(["agentflow_worker.app"], code_map.imports_of_modules())
    assert len(needed) > 50
    assert {name for name in needed if name.startswith("agentflow_common.definition.nodes")} == set()


def test_a_circle_is_found_wherever_it_closes() -> None:
    graph = {"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"a", "d"}), "d": frozenset[str]()}
    assert code_map.circles(graph) == [["a", "b", "c"]]
    assert code_map.layers({"a": frozenset({"b", "c"}), "b": frozenset({"c"}), "c": frozenset[str]()}) == [
        ["c"],
        ["b"],
        ["a"],
    ]
