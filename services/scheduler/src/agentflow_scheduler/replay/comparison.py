"""Compares a decision that was taken again with the one in the log. Pure.

Three things may differ without a divergence:

- A large value is in the log as a reference. It is equal to a value with the same SHA-256.
- A task may name more or fewer steps of its chain.
- The text of an error may say more than it did when the log was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids
from agentflow_common.rpc.scheduler import ReplayDifference
from agentflow_common.runs.state import MARKER, is_marker

DIFFERENCES_MAX: Final = 50
VALUE_CHARS_MAX: Final = 2_000  # of one value in a difference
_ABSENT: Final = object()


def same(taken: ev.Decision, recorded: ev.Decision) -> bool:
    """True if the decision is the recorded one."""
    if type(taken) is not type(recorded):
        return False
    return equal(taken, recorded) or not any(True for _ in _compared(taken, recorded))


def with_chain_of(taken: ev.Decision, recorded: ev.Decision) -> ev.Decision:
    """Returns the decision with as many steps of a chain as the recorded task names.

    Their number follows from a setting and from what the scheduler had read; no state depends on it (ADR 0009).
    """
    if not isinstance(taken, ev.StepScheduled) or not isinstance(recorded, ev.StepScheduled):
        return taken
    shorter = min(len(taken.then), len(recorded.then))
    if taken.then[:shorter] != recorded.then[:shorter]:
        return taken
    return msgspec.structs.replace(taken, then=recorded.then)


def differences(taken: ev.Decision, recorded: ev.Decision) -> tuple[ReplayDifference, ...]:
    """Returns the fields that differ, in the order of their paths; at most DIFFERENCES_MAX."""
    found = []
    for path, expected, decided in _compared(taken, recorded):
        found.append(ReplayDifference(path=path, expected=_shown(expected), decided=_shown(decided)))
        if len(found) == DIFFERENCES_MAX:
            break
    return tuple(found)


def equal(taken: ev.Decision, recorded: ev.Decision) -> bool:
    """True if both are the same bytes: no value is a reference in one and not in the other."""
    return _text(taken) == _text(recorded)


def _text(event: ev.Event) -> bytes:
    return msgspec.json.encode(event, order="sorted")


def _plain(event: ev.Event) -> Any:
    return msgspec.json.decode(msgspec.json.encode(event))  # its objects keep their order: a SHA-256 depends on it


def _compared(taken: ev.Decision, recorded: ev.Decision) -> Iterator[tuple[str, Any, Any]]:
    """Yields (path, expected, decided) of what differs."""
    expected, decided = _plain(recorded), _plain(taken)
    error, known = decided.get("error"), expected.get("error")
    if isinstance(error, dict) and isinstance(known, dict) and error.get("message", "").endswith(known["message"]):
        error["message"] = known["message"]
    yield from _differing("", expected, decided)


def _differing(path: str, expected: Any, decided: Any) -> Iterator[tuple[str, Any, Any]]:
    if expected == decided and type(expected) is type(decided):
        return
    sha = _reference(expected)
    if sha and decided is not _ABSENT:
        value = decided.get("value") if _is_payload(expected) and isinstance(decided, dict) else decided
        if ids.digest(msgspec.json.encode(value)) == sha:
            return
    if isinstance(expected, dict) and isinstance(decided, dict):
        for key in sorted(expected.keys() | decided.keys()):
            below = f"{path}.{key}" if path else key
            yield from _differing(below, expected.get(key, _ABSENT), decided.get(key, _ABSENT))
    elif isinstance(expected, list) and isinstance(decided, list):
        for index in range(max(len(expected), len(decided))):
            one, other = (part[index] if index < len(part) else _ABSENT for part in (expected, decided))
            yield from _differing(f"{path}[{index}]", one, other)
    else:
        yield path, expected, decided


def _is_payload(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"ref"}


def _reference(value: Any) -> str:
    """Returns the SHA-256 of a value that is stored out of line; empty for any other."""
    if is_marker(value):
        return str(value[MARKER]["sha256"]) if not value["path"] else ""
    ref = value["ref"] if _is_payload(value) else None
    return str(ref.get("sha256", "")) if isinstance(ref, dict) else ""


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return ""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= VALUE_CHARS_MAX else text[:VALUE_CHARS_MAX] + "..."
