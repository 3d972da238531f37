"""Every event type and version has golden files that this version must still read, and write back byte for byte.

`golden/<type>.v<v>.json` is one event as it stood in the log. A golden file is never edited: a field that is added
later comes with a further file (`<type>.v<v>-2.json`), and together a type's files populate each of its fields.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from agentflow_common.events import ALL_TYPES, Event, decode, encode, event_type

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(path for path in GOLDEN.glob("*.json") if path.name != "api.v1.json")
BY_TAG = {event_type(kind): kind for kind in ALL_TYPES}


def tag_of(path: Path) -> str:
    """`step.completed.v1-2.json` -> `step.completed`"""
    return path.name.rsplit(".v", 1)[0]


def body_of(path: Path) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    return body


def ids(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_a_golden_event_is_written_back_byte_for_byte(path: Path) -> None:
    data = path.read_bytes().rstrip(b"\n")
    event = decode(data)
    assert type(event) is BY_TAG[tag_of(path)]
    assert encode(event) == data


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_fields_of_a_later_version_are_ignored(path: Path) -> None:
    body = body_of(path)
    extended = {"added_first": {"deep": [1]}, **body, "added_last": "x"}
    for key in ("error", "output", "inputs", "llm"):
        if isinstance(body.get(key), dict):
            extended[key] = {**body[key], "added_inside": True}
    if tag_of(path) == "step.scheduled" and "inputs" in body:
        extended["inputs"] = body["inputs"]  # free-form: what it holds is data, not fields
    assert decode(msgspec.json.encode(extended)) == decode(path.read_bytes())


@pytest.mark.parametrize("kind", ALL_TYPES, ids=event_type)
def test_the_minimal_form_decodes_and_keeps_its_version_on_the_wire(kind: type[Event]) -> None:
    required = {field.encode_name for field in msgspec.structs.fields(kind) if field.required}
    body = body_of(GOLDEN / f"{event_type(kind)}.v1.json")
    minimal = {"type": body["type"], **{name: body[name] for name in required}}
    event = decode(msgspec.json.encode(minimal))
    assert type(event) is kind
    assert msgspec.json.decode(encode(event)) == {**minimal, "v": 1}
    for name in required:
        with pytest.raises(msgspec.ValidationError):
            decode(msgspec.json.encode({key: value for key, value in minimal.items() if key != name}))


@pytest.mark.parametrize("kind", ALL_TYPES, ids=event_type)
def test_the_golden_files_of_a_type_populate_each_of_its_fields(kind: type[Event]) -> None:
    files = [path for path in FILES if tag_of(path) == event_type(kind)]
    assert GOLDEN / f"{event_type(kind)}.v1.json" in files
    populated: set[str] = set().union(*(body_of(path) for path in files))
    fields = {field.encode_name for field in msgspec.structs.fields(kind)}
    assert fields - populated == set(), f"add {event_type(kind)}.v1-{len(files) + 1}.json with the new fields"
    assert populated - fields == {"type"}, "a field was removed or renamed: changes are additive only"


def test_no_golden_file_is_an_orphan() -> None:
    assert {tag_of(path) for path in FILES} == set(BY_TAG)


def test_what_is_not_an_event_is_refused() -> None:
    for data in (b"", b"[]", b'{"type":"no.such"}', b'{"type":"step.completed","org":1}', b"\xff"):
        with pytest.raises(msgspec.MsgspecError):
            decode(data)
