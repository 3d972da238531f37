"""Dead letters over the API: what a caller may see of them, telling facts again, and purging.

An org's administrator has the letters whose subject names the org. Those of nobody, and of the engine's own entities,
are for who holds the permission `operator` beside it; no key sees another org's.

A replay is exactly once, whatever is killed when: the replayed message carries the sequence that its letter came from,
so a replay that was cut short between append and removal is found in the log by the next one and not told twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

from agentflow_common import events as ev
from agentflow_common import ids, rpc, subjects, telemetry
from agentflow_common.errors import InvalidError, PermissionDeniedError, Problem, RetryableError, TerminalError
from agentflow_common.errors import NotFoundError as MissingError
from agentflow_common.log import dead_letters
from agentflow_common.log.consumers import Delivery
from agentflow_common.log.dead_letters import DeadLetter
from agentflow_common.log.event_log import Entry
from agentflow_gateway import auth_rules, limits
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.dependencies import Deps

HELD_EVERY_S: Final = 10.0
CHANGED_MAX: Final = 500  # letters that one call replays or purges
BODY_BYTES_MAX: Final = 1024 * 1024
WAIT_S: Final = 0.5


class Filter(msgspec.Struct, frozen=True):
    """What is set must match. Times in ms since the epoch, of the burial."""

    sequences: frozenset[int] = frozenset()
    origin: str = ""
    reason: str = ""
    run: str = ""
    after_ms: int = 0
    before_ms: int = 0
    all: bool = False
    after_seq: int = 0

    @property
    def names_some(self) -> bool:
        return msgspec.structs.replace(self, after_seq=0) != Filter()

    def matches(self, letter: DeadLetter) -> bool:
        return (
            (not self.sequences or letter.seq in self.sequences)
            and self.origin in {"", letter.origin}
            and self.reason in {"", letter.reason}
            and self.run in {"", letter.run}
            and self.after_ms <= letter.ts
            and (not self.before_ms or letter.ts < self.before_ms)
        )


class Outcome(msgspec.Struct, frozen=True):
    letter: DeadLetter
    outcome: str
    seq: int = 0
    problem: str = ""


def _orgs(identity: auth_rules.Identity) -> list[str]:
    """Whose letters this caller may see."""
    platform = (subjects.NOBODY, subjects.LANE_ORG) if "operator" in identity.permissions else ()
    return list(dict.fromkeys((identity.org, *platform)))


async def find(deps: Deps, call: Call, wanted: Filter, limit: int) -> tuple[list[DeadLetter], int]:
    """(letters that match, oldest first; the sequence to go on after, 0 at the end)."""
    after_seq = wanted.after_seq
    if wanted.sequences:
        after_seq = max(after_seq, min(wanted.sequences) - 1)
    filters = [subjects.dead_of(org) for org in _orgs(call.identity)]
    tail = deps.log.tail(filters, after_seq + 1, subjects.DEAD_STREAM, headers_only=True)
    found: list[DeadLetter] = []
    with _log_reachable():
        await tail.start()
    try:
        while not (tail.caught_up.is_set() and not tail.buffered):
            call.timeout_s(WAIT_S)  # the caller's deadline
            for delivery in await tail.batch(WAIT_S):
                letter = dead_letters.read(delivery)
                if wanted.matches(letter):
                    found.append(letter)
                if len(found) == limit:
                    return found, letter.seq if delivery.pending else 0
                if wanted.sequences and letter.seq >= max(wanted.sequences):
                    return found, 0
        return found, 0
    finally:
        await tail.stop()


async def get(deps: Deps, call: Call, seq: int) -> tuple[DeadLetter, bytes]:
    """A letter and its body. NotFoundError also for one that this caller may not see: the two look alike on purpose."""
    body = msgspec.json.encode({"seq": seq})
    with _log_reachable():
        reply = await deps.nc.request(f"$JS.API.DIRECT.GET.{subjects.DEAD_STREAM}", body, timeout=call.timeout_s(10.0))
    found = {str(name): str(value) for name, value in (reply.headers or {}).items()}
    if found.get("Nats-Sequence") != str(seq):
        raise _no_such_letter(seq)
    subject, at = found["Nats-Subject"], datetime.fromisoformat(found["Nats-Time-Stamp"])
    if subject.split(".")[3:4][0] not in _orgs(call.identity):
        raise _no_such_letter(seq)
    delivery = Delivery(subject, reply.data, seq, int(at.timestamp() * 1000), 1, 0, "", found)
    return dead_letters.read(delivery), reply.data


async def body_of(deps: Deps, call: Call, letter: DeadLetter, data: bytes, reason: str) -> tuple[str, bool]:
    """(the body as text, whether it was cut). Needs `reveal` and a reason; the security service audits it first."""
    auth_rules.require(call.identity, "reveal", "GetDeadLetter with its body")
    limits.check_text(reason, "reveal_reason", limits.REASON_CHARS_MAX)
    if not reason.strip():
        raise InvalidError(
            "to see the body of a dead letter, say why: the reason is kept in the audit log",
            problems=(Problem("reveal_reason", "empty", "give a reason, for example a ticket number"),),
        )
    request = rpc.RestoreRequest(
        org=call.org,
        run=letter.run if letter.org == call.org and letter.run else f"dead_letter_{letter.seq}",
        value=data[:BODY_BYTES_MAX].decode("utf-8", "backslashreplace"),
        actor=call.identity.actor,
        reason=f"dead letter {letter.seq}: {reason.strip()}",
    )
    return str((await call.ask(deps.nc, rpc.RESTORE, request)).value), len(data) > BODY_BYTES_MAX


# --- telling again ---


async def replay(
    deps: Deps, call: Call, wanted: Filter, *, dry_run: bool, repaired: str = ""
) -> tuple[list[Outcome], bool]:
    """(what became of each letter, whether more match)."""
    _check_named(wanted, "replay")
    if repaired:
        auth_rules.require(call.identity, "operator", "ReplayDeadLetters with a repaired body")
        if len(wanted.sequences) != 1:
            raise InvalidError(
                "a repaired body stands for one letter",
                problems=(Problem("filter.sequences", f"{len(wanted.sequences)} are named", "name one sequence"),),
            )
        limits.check_text(repaired, "repaired_body", BODY_BYTES_MAX)
    letters, more = await find(deps, call, wanted, CHANGED_MAX)
    _check_found(wanted, letters)
    outcomes = []
    for letter in letters:
        call.timeout_s(WAIT_S)
        try:
            outcomes.append(await _replay(deps, call, letter, repaired.encode(), dry_run))
        except TerminalError as error:
            if repaired:
                raise
            outcomes.append(Outcome(letter, "refused", problem=str(error.message)))
    await _audit(deps, call, "replay", outcomes)
    return outcomes, bool(more)


async def _replay(deps: Deps, call: Call, letter: DeadLetter, repaired: bytes, dry_run: bool) -> Outcome:
    if not letter.replayable:
        raise TerminalError("not a fact: the scheduler takes its decisions again by itself; purge the letter")
    if letter.replays >= dead_letters.REPLAYS_MAX and not repaired:
        raise TerminalError(f"it has died {letter.replays + 1} times: repair its body, or purge it")
    _, data = await get(deps, call, letter.seq)
    if repaired:
        _check_repaired(letter, repaired)
        data = repaired
    told = await _told_before(deps, letter)
    if told:
        if not dry_run:
            await _remove(deps, letter)
        return Outcome(letter, "already_replayed", told)
    await _check_run(deps, letter, data)
    if dry_run:
        return Outcome(letter, "would_replay")
    headers = {
        dead_letters.REPLAY_OF: str(letter.origin_seq),
        dead_letters.REPLAYS: str(0 if repaired else letter.replays + 1),
    }
    entry = Entry(letter.subject, data, msg_id=f"replay-{letter.origin_seq}", headers=headers)
    ack = await deps.log.append(entry, call.timeout_s(10.0))
    await _remove(deps, letter)
    return Outcome(letter, "already_replayed" if ack.duplicate else "replayed", ack.seq)


async def _told_before(deps: Deps, letter: DeadLetter) -> int:
    """The sequence of this letter's replay if the log holds it: an earlier call was cut short, or another service had
    buried the same message and that letter was replayed."""
    tail = deps.log.tail([letter.subject], letter.origin_seq + 1, headers_only=True)
    with _log_reachable():
        await tail.start()
    try:
        while not (tail.caught_up.is_set() and not tail.buffered):
            for delivery in await tail.batch(WAIT_S):
                if (delivery.headers or {}).get(dead_letters.REPLAY_OF) == str(letter.origin_seq):
                    return delivery.seq
        return 0
    finally:
        await tail.stop()


async def _check_run(deps: Deps, letter: DeadLetter, data: bytes) -> None:
    """A fact about a run that the log does not hold (any more) would be told to nobody."""
    if subjects.kind_of(letter.run) != "run":
        return
    first = await deps.log.read(letter.subject, limit=1)
    known = first and isinstance(ev.try_decode(first[0].data), ev.RunSubmitted)
    if not known and not isinstance(ev.try_decode(data), ev.RunSubmitted):
        raise TerminalError(
            f"the log holds no run {letter.run} (never submitted, or archived and purged): purge the letter",
            kind="run_not_in_log",
        )


def _check_repaired(letter: DeadLetter, data: bytes) -> None:
    """What was repaired by hand must be a fact about the run that it is told to."""
    try:
        event = ev.decode(data)
    except msgspec.MsgspecError as error:
        raise InvalidError(
            "the repaired body is not an event",
            problems=(Problem("repaired_body", str(error), "give the JSON of one event, as `trace get` shows them"),),
        ) from None
    if isinstance(event, ev.Decision) or (event.org, event.run) != (letter.org, letter.run):
        wrong = "a decision" if isinstance(event, ev.Decision) else f"about run {event.run!r} of org {event.org!r}"
        fix = f"give a fact about run {letter.run!r} of org {letter.org!r}"
        raise InvalidError(
            "the repaired body does not belong where the letter came from",
            problems=(Problem("repaired_body", f"it is {wrong}", fix),),
        )


# --- purging ---


async def purge(deps: Deps, call: Call, wanted: Filter, *, dry_run: bool) -> tuple[list[Outcome], bool]:
    _check_named(wanted, "purge")
    letters, more = await find(deps, call, wanted, CHANGED_MAX)
    _check_found(wanted, letters)
    if not dry_run:
        for letter in letters:
            call.timeout_s(WAIT_S)
            await _remove(deps, letter)
    outcomes = [Outcome(letter, "would_purge" if dry_run else "purged") for letter in letters]
    await _audit(deps, call, "purge", outcomes)
    return outcomes, bool(more)


async def _remove(deps: Deps, letter: DeadLetter) -> None:
    """Erases the message; one that is gone already is fine."""
    with _log_reachable(), contextlib.suppress(NotFoundError):
        try:
            await deps.nc.jsm().delete_msg(subjects.DEAD_STREAM, letter.seq)
        except APIError as error:
            if error.err_code not in {10037, 10043, 10057}:  # no message found, sequence not found, delete refused
                raise


async def _audit(deps: Deps, call: Call, what: str, outcomes: list[Outcome]) -> None:
    """Who changed how many of the dead letters: one record a call, none for a dry run."""
    done = [o for o in outcomes if o.outcome in {"replayed", "already_replayed", "purged"}]
    if not done:
        return
    record = ev.AuditRecorded(
        org=call.org, run="", ts=deps.clock.now_ms(), trace=call.trace, action=f"dead_{what}",
        actor=call.identity.actor, reason=f"{len(done)} dead letters, {done[0].letter.seq} to {done[-1].letter.seq}",
    )  # fmt: skip
    await deps.log.append(Entry(subjects.audit(call.org, ""), ev.encode(record)))


async def watch_held(nc: Client) -> None:
    """Keeps the gauge; until cancelled."""
    while True:
        with contextlib.suppress(nats.errors.Error, APIError, TimeoutError):
            telemetry.DEAD_LETTERS_HELD.set((await nc.jsm().stream_info(subjects.DEAD_STREAM)).state.messages)
        await asyncio.sleep(HELD_EVERY_S)


# --- refusals ---


def _check_named(wanted: Filter, verb: str) -> None:
    if not wanted.names_some:
        fix = "name sequences, an origin, a reason, a run or a time, or set `all`"
        raise InvalidError(f"which letters to {verb} is not said", problems=(Problem("filter", "is empty", fix),))


def _check_found(wanted: Filter, letters: list[DeadLetter]) -> None:
    missing = sorted(wanted.sequences - {letter.seq for letter in letters})
    if missing and len(letters) < CHANGED_MAX:
        raise _no_such_letter(missing[0])


def _no_such_letter(seq: int) -> MissingError:
    return MissingError(
        f"there is no dead letter {seq} (or none that you may see): see `agentctl dead list`",
        kind="unknown_dead_letter",
    )


def require_operator(call: Call, what: str) -> None:
    if "operator" not in call.identity.permissions:
        raise PermissionDeniedError(
            f"{what} holds for all orgs and needs the permission `operator`; make a key with it by "
            "`agentctl keys create --name NAME --permissions admin,operator`",
            kind="missing_permission",
        )


@contextlib.contextmanager
def _log_reachable() -> Iterator[None]:
    try:
        yield
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError) as error:
        raise RetryableError("the event log is not reachable; try again", kind="log_unavailable") from error


def page_token(seq: int) -> str:
    return str(seq) if seq else ""


def read_page_token(token: str) -> int:
    if token and not (token.isascii() and token.isdigit() and len(token) < 19):
        raise InvalidError(
            "not a page token",
            problems=(Problem("page_token", "not valid", "pass the last next_page_token, or nothing"),),
        )
    return int(token or 0)


def check_filter(wanted: Filter) -> Filter:
    """Bounds what a filter may say."""
    for name in ("origin", "reason"):
        limits.check_text(getattr(wanted, name), f"filter.{name}", 100)
    if wanted.run:
        ids.check_token(wanted.run, "filter.run_id")
    if len(wanted.sequences) > CHANGED_MAX:
        fix = f"name at most {CHANGED_MAX}, or filter by origin, reason, run or time"
        raise InvalidError(
            "too many sequences", problems=(Problem("filter.sequences", str(len(wanted.sequences)), fix),)
        )
    if wanted.before_ms and wanted.before_ms <= wanted.after_ms:
        raise InvalidError(
            "no time is before its start",
            problems=(
                Problem("filter.before_ms", "not after after_ms", "give after_ms < before_ms, or 0 for no bound"),
            ),
        )
    return wanted
