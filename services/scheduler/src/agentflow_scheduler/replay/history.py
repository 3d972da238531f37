"""A log as lines of JSON, as tests/replay keeps it and `agentctl trace replay --save` writes it. Pure.

A line is `{"seq": ..., "event": {...}}`, or `{"sha256": ..., "value": ...}` for a value that is stored out of line. A
first line with neither is a head and is skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import UNREADABLE, InvalidError
from agentflow_common.runs.fold import readable
from agentflow_common.subjects import EntityKey


class _Line(msgspec.Struct):
    seq: int = 0
    event: msgspec.Raw = msgspec.Raw(b"")
    sha256: str = ""
    value: Any = None


def parse(text: bytes) -> tuple[EntityKey, list[tuple[int, ev.Event]], dict[str, Any]]:
    """Returns the entity, its log in sequence order, and the values by SHA-256.

    Raises InvalidError with the line that can't be read.
    """
    log: list[tuple[int, ev.Event]] = []
    values: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = msgspec.json.decode(line, type=_Line)
            if found.sha256:
                values[found.sha256] = found.value
                continue
            if not bytes(found.event):
                if number == 1:
                    continue
                raise InvalidError("there is no `event`")
            log.append((found.seq, ev.decode(bytes(found.event))))
        except (*UNREADABLE, InvalidError) as error:
            raise InvalidError(f"line {number} of the history can't be read: {error}", kind="bad_history") from error
    if not log:
        raise InvalidError("the history has no events", kind="empty_history")
    log.sort(key=lambda item: item[0])
    owners = {(event.org, event.run) for _, event in log}
    if len(owners) > 1:
        raise InvalidError(f"the history has events of {len(owners)} runs; one is replayed", kind="bad_history")
    org, name = owners.pop()
    return subjects.key_of(org, name), log, values


def lines(messages: Iterable[tuple[str, bytes, int]], values: Mapping[str, msgspec.Raw]) -> tuple[str, ...]:
    """Returns the lines of stored messages, and of the values that they refer to."""
    made = [
        f'{{"seq":{seq},"event":{data.decode()}}}'
        for subject, data, seq in messages
        if readable(subject, data) is not None
    ]
    kept = (f'{{"sha256":"{sha}","value":{bytes(value).decode()}}}' for sha, value in values.items())
    return (*made, *kept)


def from_messages(messages: Iterable[tuple[str, bytes, int]]) -> list[tuple[int, ev.Event]]:
    """Returns the events of stored messages, given as (subject, data, sequence), without what every fold skips."""
    found = [(seq, readable(subject, data)) for subject, data, seq in messages]
    return [(seq, event) for seq, event in found if event is not None]


def references(log: Iterable[tuple[int, ev.Event]]) -> dict[str, ev.BlobRef]:
    """Returns the values that the events refer to, by SHA-256."""
    refs: dict[str, ev.BlobRef] = {}
    for _, event in log:
        encoded = msgspec.json.encode(event)
        if b'"sha256"' in encoded:
            _collect(msgspec.json.decode(encoded), refs)
    return refs


def _collect(value: Any, refs: dict[str, ev.BlobRef]) -> None:
    if isinstance(value, dict):
        if value.keys() == {"sha256", "size"} and isinstance(value["sha256"], str) and isinstance(value["size"], int):
            refs[value["sha256"]] = ev.BlobRef(sha256=value["sha256"], size=value["size"])
            return
        for part in value.values():
            _collect(part, refs)
    elif isinstance(value, list):
        for part in value:
            _collect(part, refs)
