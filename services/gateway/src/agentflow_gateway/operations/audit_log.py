"""The audit log over the API: an org's entries, newest first, and the digest that shows whether they have changed.

The log is the stream AF_AUDIT. Each reading of it is an entry itself, which is written before the answer is given.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.errors import InvalidError, NotFoundError
from agentflow_common.log.event_log import Stored
from agentflow_gateway import limits
from agentflow_gateway.api.call import NO_RUN, Call
from agentflow_gateway.api.pages import Page

WINDOW: Final = 1_000  # sequences that are read at first, backwards; doubled while they contain too little
WINDOW_MAX: Final = 50_000
SCANNED_MAX: Final = 200_000  # sequences that one call looks through
VERIFIED_MAX: Final = 20_000  # entries that one call verifies
PROBLEMS_MAX: Final = 100
SKEW_MS: Final = 3_600_000  # clocks of different services may differ: entries are not exactly in the order of time
WAIT_S: Final = 0.5
START: Final = bytes(32)
_MANY: Final = 500  # entries of a window that is not doubled any more


class Filter(msgspec.Struct, frozen=True):
    """Selects entries. Every field that is set must match; times are ms since the epoch."""

    actor: str = ""
    action: str = ""
    run: str = ""
    after_ms: int = 0
    before_ms: int = 0

    def matches(self, event: ev.AuditRecorded) -> bool:
        return (
            self.actor in {"", event.actor}
            and self.action in {"", event.action}
            and self.run in {"", event.run}
            and self.after_ms <= event.ts
            and (not self.before_ms or event.ts < self.before_ms)
        )

    def as_text(self) -> str:
        """Returns the filter as text, for the audit log."""
        return ", ".join(f"{name}={value}" for name, value in msgspec.structs.asdict(self).items() if value) or "all"


class AuditEntry(msgspec.Struct, frozen=True):
    seq: int
    event: ev.AuditRecorded


class Verified(msgspec.Struct, frozen=True):
    entries: int
    last_seq: int
    digest: bytes
    problems: tuple[tuple[int, str], ...]  # (sequence or 0, what is wrong)
    more: bool


async def find(call: Call, chosen: Filter, page: Page) -> tuple[list[AuditEntry], str]:
    """Returns (entries that match, newest first; the token of the next page, empty at the end)."""
    check_filter(chosen)
    log = call.deps.log
    high = page.after.number - 1 if page.after is not None else await log.last_seq(subjects.AUDIT_STREAM)
    await call.audit("audit_list", await call.protect(NO_RUN, chosen.as_text(), "reason"))
    subject = subjects.audit(call.org, chosen.run) if chosen.run else subjects.audit_of(call.org)
    entries: list[AuditEntry] = []
    window, floor = WINDOW, high - SCANNED_MAX
    while high > 0 and high > floor:
        call.timeout_s(WAIT_S)  # the caller's deadline
        low = max(high - window, 0)
        stored = await _between(call, subject, low, high)
        events = [
            AuditEntry(item.seq, event)
            for item in reversed(stored)
            if isinstance(event := ev.try_decode(item.data), ev.AuditRecorded)
        ]
        for entry in events:
            if chosen.matches(entry.event):
                entries.append(entry)
                if len(entries) == page.limit:
                    return entries, page.token(entry.seq) if entry.seq > 1 else ""
        if events and all(entry.event.ts < chosen.after_ms - SKEW_MS for entry in events):
            return entries, ""
        high, window = low, min(window * 2, WINDOW_MAX) if len(stored) < _MANY else window
    return entries, page.token(high + 1) if high > 0 else ""


async def get(call: Call, seq: int) -> AuditEntry:
    """Returns one entry. NotFoundError also for another org's."""
    await call.audit("audit_get", f"entry {seq}")
    stored = await call.deps.log.read(subjects.audit_of(call.org), seq - 1, 1, subjects.AUDIT_STREAM) if seq > 0 else []
    event = ev.try_decode(stored[0].data) if stored and stored[0].seq == seq else None
    if not isinstance(event, ev.AuditRecorded):
        raise NotFoundError(
            f"there is no entry {seq} in your org's audit log: see `agentctl audit list`", kind="unknown_audit_entry"
        )
    return AuditEntry(seq, event)


async def verify(call: Call, after_seq: int, after_digest: str, *, to_seq: int) -> Verified:
    """Verifies the entries after `after_seq`, whose digest was `after_digest`; at most VERIFIED_MAX of them."""
    digest = _read_digest(after_digest, after_seq)
    newest = await call.deps.log.last_seq(subjects.AUDIT_STREAM)
    last = min(to_seq or newest, newest)
    problems = await _gaps(call) if not after_seq else []
    entries, more, position = 0, False, after_seq
    async for stored in call.deps.log.messages(subjects.audit_of(call.org), after_seq, subjects.AUDIT_STREAM):
        if stored.seq > last:
            break
        if entries >= VERIFIED_MAX:
            more = True
            break
        call.timeout_s(WAIT_S)  # the caller's deadline
        digest = extended(digest, stored.seq, stored.subject, stored.data)
        if len(problems) < PROBLEMS_MAX and (wrong := _wrong(stored, call.org)):
            problems.append((stored.seq, wrong))
        entries, position = entries + 1, stored.seq
    await call.audit("audit_verify", f"{entries} entries after {after_seq}, {len(problems)} problems")
    return Verified(entries, position, digest, tuple(problems), more)


def extended(digest: bytes, seq: int, subject: str, data: bytes) -> bytes:
    """Returns the digest of the entries up to this one, given the digest up to the one before."""
    return hashlib.sha256(digest + seq.to_bytes(8, "big") + subject.encode() + b"\0" + data).digest()


def check_filter(chosen: Filter) -> None:
    for name in ("actor", "action"):
        limits.check_text(getattr(chosen, name), name, limits.REASON_CHARS_MAX)
    if chosen.run:
        ids.check_token(chosen.run, "run_id")
    for name in ("after_ms", "before_ms"):
        if getattr(chosen, name) < 0:
            raise InvalidError.at(name, "the time is negative", "give ms since the epoch, or leave it out")
    if chosen.before_ms and chosen.before_ms <= chosen.after_ms:
        fix = "swap the two times, or leave one out"
        raise InvalidError.at("before_ms", "the end of the range is not after its start", fix)


def _read_digest(text: str, after_seq: int) -> bytes:
    if not text and not after_seq:
        return START
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != len(START) or not after_seq:
        fix = "give after_sequence and after_digest as the previous answer had them, or neither"
        raise InvalidError.at("after_digest", "after_digest is not a digest of this log", fix)
    return digest


def _wrong(stored: Stored, org: str) -> str:
    event = ev.try_decode(stored.data)
    if not isinstance(event, ev.AuditRecorded):
        return "not an audit record"
    if event.org != org or subjects.audit(org, event.run) != stored.subject:
        return f"it names run {event.run!r} of org {event.org!r}, but its subject is {stored.subject}"
    return ""


async def _between(call: Call, subject: str, low: int, high: int) -> list[Stored]:
    """Returns the messages on the subject with a sequence above `low`, up to `high`."""
    between: list[Stored] = []
    async for stored in call.deps.log.messages(subject, low, subjects.AUDIT_STREAM):
        if stored.seq > high:
            break
        between.append(stored)
    return between


async def _gaps(call: Call) -> list[tuple[int, str]]:
    """Returns a problem if sequences are missing. No service deletes entries, so a gap means that a person did."""
    state = (await call.deps.nc.jsm().stream_info(subjects.AUDIT_STREAM)).state
    missing = state.last_seq - state.messages
    return [(0, f"{missing} entries were deleted from the platform's audit log")] if missing else []
