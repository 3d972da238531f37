"""Answers about the platform itself: dead letters and retention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agentflow_sdk.models.workflows import Record


@dataclass(frozen=True, slots=True)
class DeadLetter(Record):
    """A message that the service `origin` could not use. buried_at: ms since the epoch. body: only with `reveal`.

    subject, origin_sequence: where it came from in the log. replays: how often it had been replayed before.
    """

    sequence: int
    buried_at: int
    origin: str
    reason: str
    subject: str
    origin_sequence: int
    org_id: str = ""
    run_id: str = ""
    size_bytes: int = 0
    replays: int = 0
    replayable: bool = False
    body: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetterPage(Record):
    letters: tuple[DeadLetter, ...] = ()
    next_page_token: str = ""

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self.letters)

    def __len__(self) -> int:
        return len(self.letters)


@dataclass(frozen=True, slots=True)
class DeadLetterOutcome(Record):
    """outcome: replayed, already_replayed, purged, would_replay, would_purge or refused; sequence: of the replay."""

    letter: DeadLetter
    outcome: str
    sequence: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetterChanges(Record):
    """more: more letters match than one call takes; call again with `after` the last one's sequence."""

    outcomes: tuple[DeadLetterOutcome, ...] = field(default_factory=tuple)
    more: bool = False

    def count(self, outcome: str) -> int:
        return sum(item.outcome == outcome for item in self.outcomes)


@dataclass(frozen=True, slots=True)
class Retention(Record):
    """How long finished runs stay in the log (ms, 0: for ever), and how far archiving has come. See the API."""

    keep_ms: int
    set_by: str = ""
    set_at: int = 0
    archived_runs: int = 0
    waiting_runs: int = 0
    waiting_for: str = ""
    swept_at: int = 0
    log_messages: int = 0
    log_bytes: int = 0
    archived_to_sequence: int = 0
    lost_from_sequence: int = 0
    lost_to_sequence: int = 0
