"""Replays of recorded histories: the same today, and a planted change of the engine is located at its first event."""

from __future__ import annotations

import io
import socket
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.rpc.scheduler import DIVERGED, SAME
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.replay import child, history
from agentflow_scheduler.replay.replay import MissingValueError, replay
from agentflow_scheduler.runs.decisions import RunDecisions

HISTORIES = sorted(Path(__file__).with_name("histories").glob("*.jsonl"))
COMMON = {"org", "run", "ts", "type", "v", "seen", "trace", "step", "attempt", "then"}
FIELDS_MAX = 3  # of one type of event
Log = list[tuple[int, ev.Event]]


class Mutation(NamedTuple):
    """A change of what the engine writes: a type of decision is left out, written twice, or has another field."""

    how: str
    type: str
    file: str
    field: str = ""


@cache
def load(name: str) -> tuple[EntityKey, Log]:
    key, log, _ = history.parse((HISTORIES[0].parent / name).read_bytes())
    return key, log


def mutations() -> list[Mutation]:
    """Returns three kinds of changes for every type of decision, each with the shortest history that has it."""
    found: dict[str, str] = {}
    fields: dict[str, list[str]] = {}
    for file in sorted(HISTORIES, key=lambda file: file.stat().st_size):
        key, log = load(file.name)
        for _, event in log if key.kind == "run" else ():
            kind = ev.event_type(event)
            if not isinstance(event, ev.Decision) or kind in found:
                continue
            found[kind] = file.name
            plain = msgspec.to_builtins(event)
            fields[kind] = [name for name in plain if name not in COMMON and isinstance(plain[name], str | int)]
    made = [Mutation(how, kind, file) for kind, file in found.items() for how in ("left out", "twice")]
    return made + [
        Mutation("field", kind, file, name) for kind, file in found.items() for name in fields[kind][:FIELDS_MAX]
    ]


MUTATIONS = mutations()


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else f"{value}x"


def plant(monkeypatch: pytest.MonkeyPatch, mutation: Mutation) -> None:
    real = RunDecisions.record

    def record(self: RunDecisions, event_type: type[ev.Decision], fields: dict[str, Any]) -> None:
        real(self, event_type, fields)
        if ev.event_type(self.decisions[-1]) != mutation.type:
            return
        if mutation.how == "left out":
            self.decisions.pop()
        elif mutation.how == "twice":
            self.decisions.append(self.decisions[-1])
        elif msgspec.to_builtins(self.decisions[-1]).get(mutation.field) is not None:
            last = self.decisions[-1]
            other = {mutation.field: changed(getattr(last, mutation.field))}
            self.decisions[-1] = msgspec.structs.replace(last, **other)

    monkeypatch.setattr(RunDecisions, "record", record)


def expected_place(mutation: Mutation, log: Log) -> int:
    """Returns the sequence of the first event that the change affects, from the log alone."""
    decisions = [(seq, event) for seq, event in log if isinstance(event, ev.Decision)]
    at = next(
        place for place, (_, event) in enumerate(decisions)
        if ev.event_type(event) == mutation.type
        and (not mutation.field or msgspec.to_builtins(event).get(mutation.field) is not None)
    )  # fmt: skip
    seq, event = decisions[at]
    if mutation.how != "twice" or at + 1 == len(decisions):
        return seq
    following_seq, following = decisions[at + 1]
    return following_seq if (following.seen, following.ts) == (event.seen, event.ts) else seq


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
def test_a_history_replays_to_the_state_that_it_had_at_every_sequence(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And opens no socket."""
    key, log, values = history.parse(file.read_bytes())
    monkeypatch.setattr(socket, "socket", None)
    done = replay(key, log, values)
    assert done.verdict == SAME, done.divergence
    assert done.state_hash == msgspec.json.decode(file.read_bytes().splitlines()[0])["hash"]
    assert done.held_turns == done.rehosted == done.partial_turns == 0
    taken = sum(isinstance(event, ev.Decision) for _, event in log)
    if key.kind == "run":
        assert (done.decisions, done.hashed) == (taken, taken)


def test_there_are_fifty_changes() -> None:
    assert len(MUTATIONS) >= 50
    assert len({mutation.type for mutation in MUTATIONS}) >= 20


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.type} {m.how} {m.field}".strip())
def test_a_change_of_the_engine_is_located(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    key, log = load(mutation.file)
    plant(monkeypatch, mutation)
    done = replay(key, log, {})
    assert done.verdict == DIVERGED
    found = done.divergence
    assert found is not None
    assert found.seq == expected_place(mutation, log)
    if mutation.how == "field":
        assert (found.cause, found.expected_type) == ("fields", mutation.type)
        assert [part.path for part in found.differences] == [mutation.field]
    assert msgspec.json.decode(found.state_before)
    assert len(found.hash_before) == 64


def test_an_event_that_was_altered_in_the_log_is_found() -> None:
    """A log that somebody edited is not what the engine decides."""
    key, log = load("rounds.v0.3.s1qt49.jsonl")
    place, (seq, event) = next((place, item) for place, item in enumerate(log) if isinstance(item[1], ev.StepScheduled))
    edited = [*log[:place], (seq, msgspec.structs.replace(event, priority=7)), *log[place + 1 :]]
    done = replay(key, edited, {})
    assert done.divergence is not None
    assert (done.divergence.seq, done.divergence.differences[0].path) == (seq, "priority")


def test_a_value_that_is_not_given_is_named() -> None:
    key, log = load("rounds.v0.3.s1qt49.jsonl")
    seq, first = log[0]
    assert isinstance(first, ev.RunSubmitted)
    lost = msgspec.structs.replace(first, inputs=ev.Payload(ref=ev.BlobRef(sha256="ab" * 32, size=9)))
    assert set(history.references([(seq, lost)])) == {"ab" * 32}
    with pytest.raises(MissingValueError, match="abababababab"):
        replay(key, [(seq, lost), *log[1:]], {})


def test_a_history_that_is_incomplete_or_unreadable_is_refused() -> None:
    key, log = load("rounds.v0.3.s1qt49.jsonl")
    with pytest.raises(InvalidError, match="does not begin with its first event"):
        replay(key, log[1:], {})
    with pytest.raises(InvalidError, match="line 2 of the history"):
        history.parse(b'{"head": 1}\n{"seq": 1, "event": 7}')
    with pytest.raises(InvalidError, match="no events"):
        history.parse(b'{"head": 1}\n')


def test_the_process_that_replays_answers_frame_by_frame() -> None:
    key, log = load("rounds.v0.3.s1qt49.jsonl")
    kinds = {True: f"af.evt.0.{key.org}.{key.name}.out.step", False: f"af.evt.0.{key.org}.{key.name}.in"}
    messages = [(kinds[isinstance(event, ev.Decision)], ev.encode(event), seq) for seq, event in log]
    asked = [child.Question(key.org, key.name, messages), child.Question(key.org, key.name, messages[1:])]
    frames = b"".join(len(data).to_bytes(4, "big") + data for data in map(msgspec.json.encode, asked))
    sink = io.BytesIO()
    child.serve(io.BytesIO(frames), sink)
    answers = []
    data = sink.getvalue()
    while data:
        length = int.from_bytes(data[:4], "big")
        answers.append(msgspec.json.decode(data[4 : 4 + length], type=child.Answer))
        data = data[4 + length :]
    first, second = answers
    assert first.ok is not None
    assert first.ok.verdict == SAME
    assert second.error is not None
    assert second.error.kind == "no_begin"
    lines = "\n".join(history.lines(messages, {"ab": msgspec.Raw(b"[1]")})).encode()
    again, read, values = history.parse(lines)
    assert (again, read, values) == (key, log, {"ab": [1]})
    assert all(one < other for (one, _), (other, _) in pairwise(read))
