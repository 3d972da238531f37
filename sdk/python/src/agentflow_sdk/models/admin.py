"""Answers about the platform itself: dead letters and retention. Times are ms since the Unix epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentflow_sdk.models.records import Record, RecordPage


@dataclass(frozen=True, slots=True)
class DeadLetter(Record):
    """A message that a service could not use."""

    sequence: int
    """The number of the letter."""
    buried_at: int
    """When the service set it aside."""
    origin: str
    """The service that could not use it."""
    reason: str
    """Why the service could not use it."""
    subject: str
    """The subject of the log that the message came from."""
    origin_sequence: int
    """The sequence of the message in the log."""
    org_id: str = ""
    """The org that the message belongs to; empty if its subject names none."""
    run_id: str = ""
    """The run that the message is about; empty if its subject names none."""
    size_bytes: int = 0
    """The size of the message."""
    replays: int = 0
    """The number of earlier replays of the message."""
    replayable: bool = False
    """False for decisions of the scheduler, which makes them again by itself."""
    body: str | None = None
    """The message as text; None unless it was revealed."""
    truncated: bool = False
    """True if the message is longer than `body`."""


@dataclass(frozen=True, slots=True)
class DeadLetterPage(RecordPage[DeadLetter]):
    """A page of dead letters, oldest first. It can be iterated over."""

    letters: tuple[DeadLetter, ...] = ()
    """The letters of the page."""
    next_page_token: str = ""
    """The `page_token` of the next page; empty on the last page."""


@dataclass(frozen=True, slots=True)
class DeadLetterOutcome(Record):
    """The effect of a replay or a purge on one letter."""

    letter: DeadLetter
    """The letter."""
    outcome: str
    """`replayed`, `already_replayed`, `purged`, `would_replay`, `would_purge` or `refused`."""
    sequence: int = 0
    """The sequence of the replayed message in the log."""
    problem: str = ""
    """Why the letter was refused, and what to do."""


@dataclass(frozen=True, slots=True)
class DeadLetterChanges(Record):
    """The result of a replay or a purge."""

    outcomes: tuple[DeadLetterOutcome, ...] = field(default_factory=tuple)
    """The effect on each letter."""
    more: bool = False
    """True if more letters match than one call takes. Call again with `after`, the last letter's sequence."""

    def count(self, outcome: str) -> int:
        """Returns how many letters had an outcome.

        Args:
            outcome: One of the values of `DeadLetterOutcome.outcome`.

        Returns:
            The number of letters.
        """
        return sum(item.outcome == outcome for item in self.outcomes)


@dataclass(frozen=True, slots=True)
class Retention(Record):
    """The time that finished runs stay in the log, and the progress of archiving."""

    keep_ms: int
    """The time that a finished run stays in the log, ms; 0 for forever."""
    set_by: str = ""
    """The name of the API key that set it; empty for the setting of the trace service."""
    set_at: int = 0
    """When it was set."""
    archived_runs: int = 0
    """The number of finished runs whose events were moved to the archive."""
    waiting_runs: int = 0
    """The number of finished runs that are old enough and still in the log."""
    waiting_for: str = ""
    """The reason why these runs wait."""
    swept_at: int = 0
    """When the log was last searched for old runs; 0 if it was not since the start."""
    log_messages: int = 0
    """The number of messages in the log."""
    log_bytes: int = 0
    """The size of the log."""
    archived_to_sequence: int = 0
    """The archive holds everything up to this sequence of the log."""
    lost_from_sequence: int = 0
    """The start of a range that an archive restored from an older backup lacks; 0 if it lacks nothing."""
    lost_to_sequence: int = 0
    """The end of the range that the archive lacks."""
