"""The audit log over the API: an org's entries, newest first, and the digest that shows whether they have changed.

The log is the stream AF_AUDIT. Each reading of it is an entry itself, written before the answer is given.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
import nats.errors

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.errors import InvalidError, Problem, RetryableError
from agentflow_common.errors import NotFoundError as MissingError
from agentflow_common.log.event_log import Entry, Stored
from agentflow_gateway import limits
from agentflow_gateway.api import pages
from agentflow_gateway.api.call_context import NO_RUN, Call
from agentflow_gateway.dependencies import Deps

WINDOW: Final = 1_000  # sequences that are read at first, backwards; doubled while they hold too little
WINDOW_MAX: Final = 50_000
SCANNED_MAX: Final = 200_000  # sequences that one call looks through
READ_MAX: Final = 500  # messages of one read
VERIFIED_MAX: Final = 20_000  # entries that one call verifies
PROBLEMS_MAX: Final = 100
SKEW_MS: Final = 3_600_000  # clocks of different services may differ: entries are not exactly in the order of time
WAIT_S: Final = 0.5
START: Final = bytes(32)


class Filter(msgspec.Struct, frozen=True):
    """What is set must match. Times in ms since the epoch."""

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

    def words(self) -> str:
        """Returns the filter as text, for the audit log."""
        return ", ".join(f"{name}={value}" for name, value in msgspec.structs.asdict(self).items() if value) or "all"


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: entries with lower sequences come next. made_with: the filter's words."""

    seq: pages.At
    made_with: str


class Found(msgspec.Struct, frozen=True):
    seq: int
    event: ev.AuditRecorded


class Verified(msgspec.Struct, frozen=True):
    """problems: (sequence or 0, what is wrong)."""

    entries: int
    last_seq: int
    digest: bytes
    problems: tuple[tuple[int, str], ...]
    more: bool


async def find(deps: Deps, call: Call, wanted: Filter, limit: int, page_token: str) -> tuple[list[Found], str]:
    """(entries that match, newest first; the token of the next page, empty at the end)."""
    check_filter(wanted)
    place = pages.read(page_token, Place)
    if place is not None:
        pages.check_filters((place.made_with,), (wanted.words(),))
    high = place.seq - 1 if place is not None else await deps.log.last_seq(subjects.AUDIT_STREAM)
    await _record(deps, call, "audit_list", await call.protect(deps.nc, NO_RUN, wanted.words(), "reason"))
    subject = subjects.audit(call.org, wanted.run) if wanted.run else subjects.audit_of(call.org)
    found: list[Found] = []
    window, floor = WINDOW, high - SCANNED_MAX
    while high > 0 and high > floor:
        call.timeout_s(WAIT_S)  # the caller's deadline
        low = max(high - window, 0)
        stored = await _between(deps, subject, low, high)
        events = [Found(s.seq, event) for s in reversed(stored) if isinstance(event := _decoded(s), ev.AuditRecorded)]
        for item in events:
            if wanted.matches(item.event):
                found.append(item)
                if len(found) == limit:
                    return found, pages.token(Place(item.seq, wanted.words())) if item.seq > 1 else ""
        if events and all(item.event.ts < wanted.after_ms - SKEW_MS for item in events):
            return found, ""
        high, window = low, min(window * 2, WINDOW_MAX) if len(stored) < READ_MAX else window
    return found, pages.token(Place(high + 1, wanted.words())) if high > 0 else ""


async def get(deps: Deps, call: Call, seq: int) -> Found:
    """One entry. NotFoundError also for another org's."""
    await _record(deps, call, "audit_get", f"entry {seq}")
    stored = await deps.log.read(subjects.audit_of(call.org), seq - 1, 1, subjects.AUDIT_STREAM) if seq > 0 else []
    event = _decoded(stored[0]) if stored and stored[0].seq == seq else None
    if not isinstance(event, ev.AuditRecorded):
        raise MissingError(
            f"there is no entry {seq} in your org's audit log: see `agentctl audit list`", kind="unknown_audit_entry"
        )
    return Found(seq, event)


async def verify(deps: Deps, call: Call, after_seq: int, after_digest: str, to_seq: int) -> Verified:
    """Reads on from `after_seq`, whose digest was `after_digest`; at most VERIFIED_MAX entries."""
    digest = _read_digest(after_digest, after_seq)
    newest = await deps.log.last_seq(subjects.AUDIT_STREAM)
    last = min(to_seq or newest, newest)
    problems = await _gaps(deps) if not after_seq else []
    entries, more, position = 0, False, after_seq
    while position < last and not more:
        call.timeout_s(WAIT_S)
        chunk = await deps.log.read(subjects.audit_of(call.org), position, READ_MAX, subjects.AUDIT_STREAM)
        for stored in chunk:
            if stored.seq > last:
                break
            digest = extended(digest, stored.seq, stored.subject, stored.data)
            if len(problems) < PROBLEMS_MAX and (wrong := _wrong(stored, call.org)):
                problems.append((stored.seq, wrong))
            entries, position = entries + 1, stored.seq
        if len(chunk) < READ_MAX or chunk[-1].seq > last:
            break
        more = entries >= VERIFIED_MAX
    reason = f"{entries} entries after {after_seq}, {len(problems)} problems"
    await _record(deps, call, "audit_verify", reason)
    return Verified(entries, position, digest, tuple(problems), more)


def extended(digest: bytes, seq: int, subject: str, data: bytes) -> bytes:
    """Returns the digest of the entries up to this one, given the digest up to the one before."""
    return hashlib.sha256(digest + seq.to_bytes(8, "big") + subject.encode() + b"\0" + data).digest()


def check_filter(wanted: Filter) -> None:
    for name in ("actor", "action"):
        limits.check_text(getattr(wanted, name), name, limits.REASON_CHARS_MAX)
    if wanted.run:
        ids.check_token(wanted.run, "run_id")
    for name in ("after_ms", "before_ms"):
        if getattr(wanted, name) < 0:
            problem = Problem(name, f"{getattr(wanted, name)}", "give ms since the epoch, or leave it out")
            raise InvalidError("a time is negative", problems=(problem,))
    if wanted.before_ms and wanted.before_ms <= wanted.after_ms:
        problem = Problem("before_ms", "not later than after_ms", "swap the two, or leave one out")
        raise InvalidError("the end of the range is not after its start", problems=(problem,))


def _read_digest(text: str, after_seq: int) -> bytes:
    if not text and not after_seq:
        return START
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != len(START) or not after_seq:
        fix = "give after_sequence and after_digest as the previous answer had them, or neither"
        raise InvalidError("not a digest", problems=(Problem("after_digest", "not one of ours", fix),))
    return digest


def _decoded(stored: Stored) -> ev.Event | None:
    return ev.try_decode(stored.data)


def _wrong(stored: Stored, org: str) -> str:
    event = _decoded(stored)
    if not isinstance(event, ev.AuditRecorded):
        return "not an audit record"
    if event.org != org or subjects.audit(org, event.run) != stored.subject:
        return f"it names run {event.run!r} of org {event.org!r}, but stands under {stored.subject}"
    return ""


async def _between(deps: Deps, subject: str, low: int, high: int) -> list[Stored]:
    """What stands on the subject with a sequence above `low`, up to `high`."""
    out: list[Stored] = []
    while True:
        chunk = await deps.log.read(subject, out[-1].seq if out else low, READ_MAX, subjects.AUDIT_STREAM)
        out.extend(stored for stored in chunk if stored.seq <= high)
        if len(chunk) < READ_MAX or chunk[-1].seq >= high:
            return out


async def _gaps(deps: Deps) -> list[tuple[int, str]]:
    """Sequences are given without gaps and nothing deletes entries, so a gap means that somebody did."""
    try:
        state = (await deps.nc.jsm().stream_info(subjects.AUDIT_STREAM)).state
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError) as error:
        raise RetryableError("the audit log is not reachable; try again", kind="log_unavailable") from error
    missing = state.last_seq - state.messages
    return [(0, f"{missing} entries were deleted from the platform's audit log")] if missing else []


async def _record(deps: Deps, call: Call, action: str, reason: str) -> None:
    """Durable on return: who reads the audit log is audited too."""
    record = ev.AuditRecorded(
        org=call.org, run="", ts=deps.clock.now_ms(), trace=call.trace, action=action, actor=call.identity.actor,
        reason=reason,
    )  # fmt: skip
    await deps.log.append(Entry(subjects.audit(call.org, ""), ev.encode(record)), call.timeout_s(10.0))
