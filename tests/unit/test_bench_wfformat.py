"""WfFormat in the shapes that people have: schema 1.4, names for ids, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import wfformat
from benchmarks import workflow_shapes as shapes


def old(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Schema 1.4: one list holds edges and runtimes."""
    return {"name": "w", "schemaVersion": "1.4", "workflow": {"makespanInSeconds": 9, "tasks": tasks}}


def test_schema_1_4_is_read() -> None:
    tasks = shapes.parse(
        old(
            [
                {"name": "join", "id": "ID3", "parents": ["ID1", "ID2"], "runtimeInSeconds": 1},
                {"name": "left", "id": "ID1", "children": ["ID3"], "runtimeInSeconds": 2.5},
                {"name": "right", "id": "ID2", "runtimeInSeconds": 4},
            ]
        )
    )
    assert [(task.id, task.parents, task.seconds) for task in tasks] == [
        ("ID1", (), 2.5),
        ("ID2", (), 4.0),
        ("ID3", (0, 1), 1.0),
    ]


def test_edges_may_use_names_where_they_are_clear() -> None:
    first = {"name": "first", "id": "ID1", "runtimeInSeconds": 1}
    second = {"name": "second", "id": "ID2", "parents": ["first"], "runtimeInSeconds": 1}
    assert shapes.parse(old([second, first]))[1].parents == (0,)
    twin = {"name": "first", "id": "ID9", "runtimeInSeconds": 1}
    with pytest.raises(ValueError, match="no tasks: first"):
        shapes.parse(old([first, twin, second]))


def test_tasks_without_an_id_are_known_by_their_name() -> None:
    tasks = shapes.parse(old([{"name": "b", "parents": ["a"], "runtime": 2}, {"name": "a", "runtime": 1}]))
    assert [(task.id, task.seconds) for task in tasks] == [("a", 1.0), ("b", 2.0)]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([], "no object `workflow`"),
        ({"workflow": 3}, "no object `workflow`"),
        ({"workflow": {}}, r"workflow\.specification \(schema 1\.5\) or workflow\.tasks"),
        ({"workflow": {"specification": {"tasks": [{"id": "a"}]}}}, r"workflow\.execution\.tasks"),
        (old([]), "a task or more"),
        (old([{"runtimeInSeconds": 1}]), "neither `id` nor `name`"),
        (old(["a"]), "neither `id` nor `name`"),  # type: ignore[list-item]
        (old([{"id": "a", "runtimeInSeconds": 1}, {"id": "a", "runtimeInSeconds": 1}]), "two tasks are called a"),
        (old([{"id": "a"}]), "task a: `runtimeInSeconds`"),
        (old([{"id": "a", "runtimeInSeconds": -1}]), "0 or more"),
        (old([{"id": "a", "runtimeInSeconds": float("nan")}]), "0 or more"),
        (old([{"id": "a", "runtimeInSeconds": "1"}]), "must be a number"),
        (old([{"id": "a", "runtimeInSeconds": 1, "parents": "b"}]), "task a: `parents` must be a list"),
    ],
)
def test_each_mistake_has_its_own_words(data: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        shapes.parse(data)


def test_the_error_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad file among good ones ends the command before anything runs."""
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(old([{"id": "a", "runtimeInSeconds": 1}])))
    bad.write_text("{")
    monkeypatch.setattr("sys.argv", ["wfformat", str(good), str(bad)])
    assert wfformat.main() == 1
    assert "bad.json: Expecting" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["wfformat", str(tmp_path / "none.json")])
    assert wfformat.main() == 1
    assert "none.json: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--scale", "0"], ["--slots", "-1"], ["--rounds", "0"], ["--scale", "nan"]])
def test_numbers_that_make_no_sense_are_refused(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["wfformat", "w.json", *options])
    with pytest.raises(SystemExit) as ended:
        wfformat.main()
    assert ended.value.code == 2
    assert "is not above 0" in capsys.readouterr().err
