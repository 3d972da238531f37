"""WfFormat in the shapes that people have: schema 1.4, names for ids, and files that are none."""

from __future__ import annotations

import gzip
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
    with pytest.raises(ValueError, match="name no task, or several: first"):
        shapes.parse(old([first, twin, second]))


def test_tasks_without_an_id_are_known_by_their_name() -> None:
    tasks = shapes.parse(old([{"name": "b", "parents": ["a"], "runtime": 2}, {"name": "a", "runtime": 1}]))
    assert [(task.id, task.seconds) for task in tasks] == [("a", 1.0), ("b", 2.0)]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([], "no object `workflow`"),
        ({"workflow": 3}, "no object `workflow`"),
        ({"workflow": {}}, r"`workflow\.tasks` must be a list"),
        ({"workflow": {"specification": {"tasks": [{"id": "a"}]}}}, "task a has no `runtimeInSeconds`: set one"),
        ({"workflow": {"specification": 1, "execution": 2}}, r"`workflow\.specification\.tasks` must be a list"),
        (
            {"workflow": {"specification": {"tasks": [{"id": "a"}]}, "execution": {"tasks": 1}}},
            r"execution\.tasks` must",
        ),
        ({"workflow": {"jobs": {}}}, r"`workflow\.jobs` must be a list"),
        (old([]), "a task or more"),
        (old([{"runtimeInSeconds": 1}]), "neither `id` nor `name`"),
        (old(["a"]), "neither `id` nor `name`"),  # type: ignore[list-item]
        (
            old([{"id": "a", "runtimeInSeconds": 1}, {"id": "a", "runtimeInSeconds": 1}]),
            "two tasks of `workflow.tasks` are called a",
        ),
        (old([{"id": "a"}]), "task a has no `runtimeInSeconds`"),
        (old([{"id": "a", "runtimeInSeconds": -1}]), "0 or more"),
        (old([{"id": "a", "runtimeInSeconds": float("nan")}]), "0 or more"),
        (old([{"id": "a", "runtimeInSeconds": "soon"}]), "must be a number"),
        (old([{"id": "a", "runtimeInSeconds": True}]), "must be a number"),
        (old([{"id": "a", "runtimeInSeconds": 10**400}]), "must be a number"),
        (old([{"id": "a", "runtimeInSeconds": 1, "parents": [{"id": "b"}]}]), "list of ids"),
        (old([{"id": "a", "runtimeInSeconds": 1, "parents": "b"}]), "task a: `parents` must be a list of ids"),
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
    assert "bad.json: not JSON: Expecting" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["wfformat", str(tmp_path / "none.json")])
    assert wfformat.main() == 1
    assert "none.json: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--scale", "0"],
        ["--slots", "-1"],
        ["--rounds", "0"],
        ["--scale", "nan"],
        ["--slots", "1001"],
        ["--rounds", "2.5"],
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["wfformat", "w.json", *options])
    with pytest.raises(SystemExit) as ended:
        wfformat.main()
    assert ended.value.code == 2
    assert f"{options[1]} is not a" in capsys.readouterr().err


def test_a_cycle_names_its_tasks_and_no_other() -> None:
    parents = {"before": [], "a": ["before", "c"], "b": ["a"], "c": ["b"], "after": ["a"]}
    with pytest.raises(ValueError, match=r"cycle: a after c after b after a$"):
        shapes.parse(old([{"id": name, "parents": of, "runtimeInSeconds": 1} for name, of in parents.items()]))
    with pytest.raises(ValueError, match=r"cycle: x after x$"):
        shapes.parse(old([{"id": "x", "parents": ["x"], "runtimeInSeconds": 1}]))


def test_what_writers_leave_loose_is_understood() -> None:
    """Edges on one side, on both, twice; null or empty for none; numbers for ids and in quotes; names with any sign."""
    odd = "Bläst / ☃ #1"
    tasks = shapes.parse(
        old(
            [
                {"id": 1, "name": odd, "parents": None, "children": ["2", 2], "runtimeInSeconds": "2.5"},
                {"id": 2, "name": "b", "parents": [""], "children": [], "runtimeInSeconds": 0},
                {"id": 3, "name": "c", "parents": [odd, odd, 2], "runtimeInSeconds": 1e9},
            ]
        )
    )
    assert [(task.id, task.parents, task.seconds) for task in tasks] == [
        ("1", (), 2.5),
        ("2", (0,), 0.0),
        ("3", (0, 1), 1e9),
    ]


def test_runtimes_may_be_missing_where_a_default_is_given() -> None:
    """Schema 1.5 does not ask for `execution`; one that is there may name tasks as the edges do."""
    specified = [{"id": "ID1", "name": "first"}, {"id": "ID2", "name": "second", "parents": ["ID1"]}]
    workflow: dict[str, Any] = {"specification": {"tasks": specified}}
    assert [task.seconds for task in shapes.parse({"workflow": workflow}, 3.0)] == [3.0, 3.0]
    workflow["execution"] = {"tasks": [{"id": "second", "runtimeInSeconds": 7}, {"id": "gone", "runtimeInSeconds": 9}]}
    assert [task.seconds for task in shapes.parse({"workflow": workflow}, 3.0)] == [3.0, 7.0]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "nested too deep"),
        (gzip.compress(b"{}", mtime=0)[:-5], "gzip data is damaged"),
        (gzip.compress(b"{}", mtime=0), "no object `workflow`"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "w.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"w\.json: .*{says}"):
        wfformat.load(path)


def test_a_gzipped_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.json.gz"
    path.write_bytes(gzip.compress(json.dumps(old([{"id": "a", "runtimeInSeconds": 1}])).encode()))
    assert wfformat.load(path) == [shapes.Task("a", (), 1.0)]


def test_what_has_no_ratio_is_refused_before_it_runs() -> None:
    tasks = [shapes.Task("a", (), 2.0), shapes.Task("b", (0,), 1.0)]
    assert wfformat.scaled("w", tasks, 64).bound_s == pytest.approx(wfformat.BOUND_S)
    assert wfformat.scaled("w", tasks, 64, scale=0.5).bound_s == 1.5
    with pytest.raises(ValueError, match="all its runtimes are 0"):
        wfformat.scaled("w", [task._replace(seconds=0.0) for task in tasks], 64)
    with pytest.raises(ValueError, match="choose a --scale"):
        wfformat.scaled("w", tasks, 64, scale=1e-9)
    with pytest.raises(ValueError, match="20,001 tasks; a workflow has at most 20,000"):
        wfformat.scaled("w", [shapes.Task(str(index), (), 1.0) for index in range(20_001)], 64)
