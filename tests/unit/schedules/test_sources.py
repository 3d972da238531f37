"""What a schedule may watch, and by which ids it knows what it has seen."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.errors import InvalidError
from agentflow_common.schedules import patterns, sources
from agentflow_common.schedules import spec as schedule_spec

GOOD: dict[str, Any] = {"name": "inbox", "workflow": "report", "overlap": "allow"}


def problems(**more: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidError) as caught:
        schedule_spec.parse({**GOOD, **more})
    return [(p.place, p.message, p.fix) for p in caught.value.problems]


def test_a_schedule_may_start_by_files_alone() -> None:
    text = """
name: inbox
workflow: report
overlap: allow
trigger: {files: {folder: inbox, pattern: "**/*.pdf", settle: 30s, every: 1m, existing: take}}
inputs: {path: "{{trigger.payload.path}}"}
"""
    spec = schedule_spec.parse_text(text)
    files = spec.trigger.files
    assert files is not None
    assert (files.folder, files.bucket, files.pattern, files.settle_ms, files.every_ms, files.existing) == (
        "inbox", "", "**/*.pdf", 30_000, 60_000, "take",
    )  # fmt: skip
    assert schedule_spec.trusted(spec.canonical()) == spec == schedule_spec.parse(spec.canonical())
    assert spec.canonical()["trigger"] == {
        "files": {
            "folder": "inbox", "pattern": "**/*.pdf", "settle_ms": 30_000, "every_ms": 60_000, "existing": "take",
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "place", "message", "fix"),
    [
        (
            {"trigger": {"files": {"folder": "a"}}, "overlap": "skip"},
            "overlap",
            "'skip' would lose what comes while a run goes on",
            "write `overlap: allow` (runs at the same time) or `overlap: buffer_all` (one after the other)",
        ),
        (
            {"trigger": {"files": {"folder": "a", "bucket": "b"}}},
            "trigger.files",
            "it names a folder and a bucket, or neither",
            "give one of the two",
        ),
        (
            {"trigger": {"files": {}}},
            "trigger.files",
            "it names a folder and a bucket, or neither",
            "give one of the two",
        ),
        (
            {"trigger": {"files": {"folder": "a", "pattern": "../*"}}},
            "trigger.files.pattern",
            "it has to stay below the folder, with no leading `/` and no `..`",
            "write for example *.md or **/*.md",
        ),
        (
            {"trigger": {"files": {"folder": "a", "patern": "*"}}},
            "trigger.files.patern",
            "unknown field 'patern'",
            "did you mean 'pattern'? there is folder, bucket, pattern, settle, every, existing",
        ),
        (
            {"trigger": {"files": {"folder": "a", "every": "10ms"}}},
            "trigger.files.every",
            "10 is out of range",
            "use at least 1s",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(more: dict[str, Any], place: str, message: str, fix: str) -> None:
    assert problems(**more)[0] == (place, message, fix)


ROWS: dict[str, Any] = {"database": "shop", "table": "public.orders"}


def test_a_schedule_may_start_by_rows() -> None:
    spec = schedule_spec.parse({**GOOD, "trigger": {"rows": {**ROWS, "every": "1m", "notify": "orders"}}})
    rows = spec.trigger.rows
    assert rows is not None
    assert (rows.key, rows.position, rows.every_ms, rows.existing) == ("id", "txid", 60_000, "skip")
    assert schedule_spec.trusted(spec.canonical()) == spec
    assert (sources.kind_of(spec.canonical()), sources.kind_of(of())) == ("row", "file")
    first = sources.source_id("u1", spec.canonical())
    for more, same in (({"notify": ""}, True), ({"every": "1s"}, True), ({"table": "x"}, False), ({"key": "k"}, False)):
        other = schedule_spec.parse({**GOOD, "trigger": {"rows": {**ROWS, **more}}}).canonical()
        assert (sources.source_id("u1", other) == first) is same, more


@pytest.mark.parametrize(
    ("rows", "place", "message"),
    [
        ({**ROWS, "table": "a.b.c"}, "trigger.rows.table", "'a.b.c' is not a table"),
        ({**ROWS, "table": "x" * 64}, "trigger.rows.table", f"'{'x' * 64}' is not a table"),
        ({"table": "orders"}, "trigger.rows.database", "the field 'database' is missing"),
        ({**ROWS, "query": "SELECT 1"}, "trigger.rows.query", "unknown field 'query'"),
    ],
)
def test_what_is_wrong_with_rows_is_told(rows: dict[str, Any], place: str, message: str) -> None:
    assert problems(trigger={"rows": rows})[0][:2] == (place, message)


def test_a_schedule_watches_one_place() -> None:
    found = problems(trigger={"rows": ROWS, "files": {"folder": "inbox"}})
    assert found == [("trigger.rows", "it watches files and rows", "make a schedule for each of them")]


def of(**files: Any) -> dict[str, Any]:
    return schedule_spec.parse({**GOOD, "trigger": {"files": {"folder": "inbox", **files}}}).canonical()


def test_another_place_is_another_source_and_another_pace_is_not() -> None:
    first = sources.source_id("u1", of())
    assert sources.source_id("u1", of(every="1m", settle="1s")) == first
    others = [
        sources.source_id("u2", of()),
        sources.source_id("u1", of(pattern="*.md")),
        sources.source_id("u1", of(folder="", bucket="inbox")),
        sources.source_id("u1", of(existing="take")),
    ]
    assert len({first, *others}) == 5


def test_one_version_of_a_file_is_one_trigger() -> None:
    assert sources.trigger_id("a/b", "1") == sources.trigger_id("a/b", "1")
    ids = [sources.trigger_id(*of) for of in [("a/b", "1"), ("a/b", "2"), ("a", "1"), ("a\udcff", "1"), ("a?", "1")]]
    assert len(set(ids)) == 5
    assert sources.item_id("a/b") not in ids


def test_which_folders_can_hold_a_match() -> None:
    assert patterns.leads_on(["a"], ["*", "*.md"])
    assert not patterns.leads_on(["a", "b"], ["*", "*.md"])
    assert patterns.leads_on(["a", "b"], ["**", "*.md"])
    assert not patterns.leads_on([".git"], ["**", "*.md"])
