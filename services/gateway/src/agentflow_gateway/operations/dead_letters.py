"""Dead letters over the API: what a caller may see of them, replays, and purges.

An org's administrator has the letters whose subject names the org. Letters of no org, and of the engine's own
entities, also need the permission `operator`. No key sees another org's letters.

A replay is exactly once, even if a process is killed in between. The replayed message carries the sequence that its
letter came from, so the next replay finds a message that was appended before its letter was removed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError
from nats.js.errors import NotFoundError as NoMessageError

from agentflow_common import events as ev
from agentflow_common import ids, rpc, subjects
from agentflow_common.errors import InvalidError, NotFoundError, TerminalError
from agentflow_common.log import dead_letters
from agentflow_common.log.consumers import Delivery, Tail
from agentflow_common.log.dead_letters import DeadLetter
from agentflow_common.log.event_log import Entry
from agentflow_common.metrics.log import DEAD_LETTERS_HELD
from agentflow_gateway import auth_rules, limits
from agentflow_gateway.api.call import APPEND_S_MAX, Call
from agentflow_gateway.auth_rules import Identity

COUNT_EVERY_S: Final = 10.0
CHANGED_MAX: Final = 500  # letters that one call replays or purges
BODY_BYTES_MAX: Final = 1024 * 1024
WAIT_S: Final = 0.5
SEQUENCE_MAX: Final = 2**64 - 1  # the last that a stream can have: no letter follows it


class Filter(msgspec.Struct, frozen=True):
    """Selects dead letters. Every field that is set must match."""

    sequences: frozenset[int] = frozenset()
    origin: str = ""
    reason: str = ""
    run: str = ""
    after_ms: int = 0  # of the burial, ms since the epoch
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


class ReplayResult(msgspec.Struct, frozen=True):
    """The result of a replay or a purge for one letter."""

    letter: DeadLetter
    outcome: str
    seq: int = 0  # of the replayed message
    problem: str = ""


def _orgs(identity: Identity) -> list[str]:
    """Returns the orgs whose letters this caller may see."""
    platform = (subjects.NOBODY, subjects.LANE_ORG) if "operator" in identity.permissions else ()
    return list(dict.fromkeys((identity.org, *platform)))


@contextlib.asynccontextmanager
async def _reading(call: Call, tail: Tail) -> AsyncIterator[AsyncIterator[Delivery]]:
    """Gives the deliveries of the tail until it has caught up, within the call's deadline, and stops it at the end."""

    async def deliveries() -> AsyncIterator[Delivery]:
        while not (tail.caught_up.is_set() and not tail.buffered):
            call.timeout_s(WAIT_S)
            for delivery in await tail.batch(WAIT_S):
                yield delivery

    await tail.start()
    try:
        yield deliveries()
    finally:
        await tail.stop()


async def find(call: Call, chosen: Filter, limit: int) -> tuple[list[DeadLetter], int]:
    """Returns (letters that match, oldest first; the sequence to continue after, 0 at the end)."""
    after_seq = chosen.after_seq
    if chosen.sequences:
        after_seq = max(after_seq, min(chosen.sequences) - 1)
    if after_seq >= SEQUENCE_MAX:
        return [], 0
    filters = [subjects.dead_of(org) for org in _orgs(call.identity)]
    tail = call.deps.log.tail(filters, after_seq + 1, subjects.DEAD_STREAM, headers_only=True)
    letters: list[DeadLetter] = []
    async with _reading(call, tail) as deliveries:
        async for delivery in deliveries:
            letter = dead_letters.read(delivery)
            if chosen.matches(letter):
                letters.append(letter)
            if len(letters) == limit:
                return letters, letter.seq if delivery.pending else 0
            if chosen.sequences and letter.seq >= max(chosen.sequences):
                return letters, 0
    return letters, 0


async def get(call: Call, seq: int) -> tuple[DeadLetter, bytes]:
    """Returns (a letter, its body). A letter that this caller may not see is NotFoundError, as if it did not exist."""
    subject = f"$JS.API.DIRECT.GET.{subjects.DEAD_STREAM}"
    body = msgspec.json.encode({"seq": seq})
    reply = await call.deps.nc.request(subject, body, timeout=call.timeout_s(10.0))
    headers = {str(name): str(value) for name, value in (reply.headers or {}).items()}
    if headers.get("Nats-Sequence") != str(seq):
        raise _no_such_letter(seq)
    subject, at = headers["Nats-Subject"], datetime.fromisoformat(headers["Nats-Time-Stamp"])
    if subject.split(".")[3:4][0] not in _orgs(call.identity):
        raise _no_such_letter(seq)
    delivery = Delivery(subject, reply.data, seq, int(at.timestamp() * 1000), 1, 0, "", headers)
    return dead_letters.read(delivery), reply.data


async def body_of(call: Call, letter: DeadLetter, data: bytes, reason: str) -> tuple[str, bool]:
    """Returns (the body as text, whether it was cut).

    Needs `reveal` and a reason. The security service audits it first.
    """
    call.check_reveal(reason, "GetDeadLetter with its body")
    request = rpc.RestoreRequest(
        org=call.org,
        run=letter.run if letter.org == call.org and letter.run else f"dead_letter_{letter.seq}",
        value=data[:BODY_BYTES_MAX].decode("utf-8", "backslashreplace"),
        actor=call.identity.actor,
        reason=f"dead letter {letter.seq}: {reason.strip()}",
    )
    return str((await call.ask(rpc.RESTORE, request)).value), len(data) > BODY_BYTES_MAX


# --- replaying and purging ---


async def replay(call: Call, chosen: Filter, *, dry_run: bool, repaired: str = "") -> tuple[list[ReplayResult], bool]:
    """Returns (the result of each letter, whether more match)."""
    if repaired:
        auth_rules.require(call.identity, "operator", "ReplayDeadLetters with a repaired body")
        if len(chosen.sequences) != 1:
            text = f"a repaired body replaces the body of one letter, and the filter names {len(chosen.sequences)}"
            raise InvalidError.at("filter.sequences", text, "name one sequence")
        limits.check_text(repaired, "repaired_body", BODY_BYTES_MAX)

    async def change(letter: DeadLetter) -> ReplayResult:
        try:
            return await _replay(call, letter, repaired.encode(), dry_run)
        except TerminalError as error:
            if repaired:
                raise
            return ReplayResult(letter, "refused", problem=str(error.message))

    return await _change_each(call, chosen, "replay", change)


async def purge(call: Call, chosen: Filter, *, dry_run: bool) -> tuple[list[ReplayResult], bool]:
    """Returns (the result of each letter, whether more match)."""

    async def change(letter: DeadLetter) -> ReplayResult:
        if dry_run:
            return ReplayResult(letter, "would_purge")
        await _remove(call, letter)
        return ReplayResult(letter, "purged")

    return await _change_each(call, chosen, "purge", change)


async def _change_each(
    call: Call, chosen: Filter, verb: str, change: Callable[[DeadLetter], Awaitable[ReplayResult]]
) -> tuple[list[ReplayResult], bool]:
    """Changes the letters that match, and records who changed how many: one entry for a call, none for a dry run."""
    if not chosen.names_some:
        fix = "give sequences, or filter by origin, reason, run or time, or choose all"
        raise InvalidError.at("filter", f"say which dead letters to {verb}", fix)
    letters, more = await find(call, chosen, CHANGED_MAX)
    missing = sorted(chosen.sequences - {letter.seq for letter in letters})
    if missing and len(letters) < CHANGED_MAX:
        raise _no_such_letter(missing[0])
    results = []
    for letter in letters:
        call.timeout_s(WAIT_S)
        results.append(await change(letter))
    done = [result for result in results if result.outcome in {"replayed", "already_replayed", "purged"}]
    if done:
        text = f"{len(done)} dead letters, {done[0].letter.seq} to {done[-1].letter.seq}"
        await call.audit(f"dead_{verb}", text)
    return results, bool(more)


async def _replay(call: Call, letter: DeadLetter, repaired: bytes, dry_run: bool) -> ReplayResult:
    if not letter.replayable:
        raise TerminalError("it is not a fact: the scheduler makes its decisions again by itself; purge the letter")
    if letter.replays >= dead_letters.REPLAYS_MAX and not repaired:
        raise TerminalError(f"it has failed {letter.replays + 1} times: repair its body, or purge it")
    _, data = await get(call, letter.seq)
    if repaired:
        _check_repaired(letter, repaired)
        data = repaired
    earlier = await _replayed_before(call, letter)
    if earlier:
        if not dry_run:
            await _remove(call, letter)
        return ReplayResult(letter, "already_replayed", earlier)
    await _check_run(call, letter, data)
    if dry_run:
        return ReplayResult(letter, "would_replay")
    headers = {
        dead_letters.REPLAY_OF: str(letter.origin_seq),
        dead_letters.REPLAYS: str(0 if repaired else letter.replays + 1),
    }
    entry = Entry(letter.subject, data, msg_id=f"replay-{letter.origin_seq}", headers=headers)
    ack = await call.deps.log.append(entry, call.timeout_s(APPEND_S_MAX))
    await _remove(call, letter)
    return ReplayResult(letter, "already_replayed" if ack.duplicate else "replayed", ack.seq)


async def _replayed_before(call: Call, letter: DeadLetter) -> int:
    """Returns the sequence of this letter's replay if it is in the log, else 0.

    An earlier call was cut short, or another service had buried the same message and that letter was replayed.
    """
    tail = call.deps.log.tail([letter.subject], letter.origin_seq + 1, headers_only=True)
    async with _reading(call, tail) as deliveries:
        async for delivery in deliveries:
            if (delivery.headers or {}).get(dead_letters.REPLAY_OF) == str(letter.origin_seq):
                return delivery.seq
    return 0


async def _check_run(call: Call, letter: DeadLetter, data: bytes) -> None:
    """Raises if the log does not contain the run that the fact is about: no scheduler would read it."""
    if subjects.kind_of(letter.run) != "run":
        return
    first = await call.deps.log.read(letter.subject, limit=1)
    known = first and isinstance(ev.try_decode(first[0].data), ev.RunSubmitted)
    if not known and not isinstance(ev.try_decode(data), ev.RunSubmitted):
        raise TerminalError(
            f"run {letter.run} is not in the log (never submitted, or archived and purged): purge the letter",
            kind="run_not_in_log",
        )


def _check_repaired(letter: DeadLetter, data: bytes) -> None:
    """Raises if a body that a person repaired is not a fact about the run of its letter."""
    try:
        event = ev.decode(data)
    except msgspec.MsgspecError as error:
        fix = "give the JSON of one event, as `trace get` shows them"
        raise InvalidError.at("repaired_body", f"the repaired body is not an event: {error}", fix) from None
    if isinstance(event, ev.Decision) or (event.org, event.run) != (letter.org, letter.run):
        wrong = "a decision" if isinstance(event, ev.Decision) else f"about run {event.run!r} of org {event.org!r}"
        text = f"the repaired body does not belong where the letter came from: it is {wrong}"
        fix = f"give a fact about run {letter.run!r} of org {letter.org!r}"
        raise InvalidError.at("repaired_body", text, fix)


async def _remove(call: Call, letter: DeadLetter) -> None:
    """Erases the message. One that is already gone is fine."""
    with contextlib.suppress(NoMessageError):
        try:
            await call.deps.nc.jsm().delete_msg(subjects.DEAD_STREAM, letter.seq)
        except APIError as error:
            if error.err_code not in {10037, 10043, 10057}:  # no message found, sequence not found, delete refused
                raise


async def watch_number(nc: Client) -> None:
    """Keeps the gauge of dead letters up to date until it is cancelled."""
    while True:
        with contextlib.suppress(nats.errors.Error, APIError, TimeoutError):
            DEAD_LETTERS_HELD.set((await nc.jsm().stream_info(subjects.DEAD_STREAM)).state.messages)
        await asyncio.sleep(COUNT_EVERY_S)


# --- refusals ---


def _no_such_letter(seq: int) -> NotFoundError:
    return NotFoundError(
        f"there is no dead letter {seq} (or none that you may see): see `agentctl dead list`",
        kind="unknown_dead_letter",
    )


def check_filter(chosen: Filter) -> Filter:
    """Returns the filter. InvalidError for a value that is out of bounds."""
    for name in ("origin", "reason"):
        limits.check_text(getattr(chosen, name), f"filter.{name}", 100)
    if chosen.run:
        ids.check_token(chosen.run, "filter.run_id")
    if len(chosen.sequences) > CHANGED_MAX:
        fix = f"name at most {CHANGED_MAX}, or filter by origin, reason, run or time"
        raise InvalidError.at("filter.sequences", f"the filter names {len(chosen.sequences)} sequences", fix)
    if chosen.before_ms and chosen.before_ms <= chosen.after_ms:
        fix = "swap the two times, or leave one out"
        raise InvalidError.at("filter.before_ms", "the end of the range is before its start", fix)
    return chosen
