"""Follows a run: its events from the log, then live ones, and on request the model tokens of running steps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import nats.errors
from nats.aio.msg import Msg

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import UNREADABLE, OverloadedError
from agentflow_common.log.consumers import Delivery
from agentflow_common.log.event_log import Stored
from agentflow_common.log.fast_path import Message, hand_over
from agentflow_common.runs.fold import readable
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.gate import Gate
from agentflow_gateway.run_tails import Following
from agentflow_gateway.runs import archive
from agentflow_gateway.runs.lookup import LAG_S, newest_at_leader, no_such_run, run_key
from agentflow_gateway.runs.progress import Progress

log = logging.getLogger(__name__)

PIECE_MAX: Final = 256  # events that are read from the log before the first of them is handed on
PIECE_BYTES_MAX: Final = 1024 * 1024


class Seen(msgspec.Struct, frozen=True):
    """An event, and the run's progress once it is folded."""

    seq: int
    event: ev.Event
    data: bytes  # the event as JSON
    status: str
    cost_nano: int
    steps_done: int
    steps_total: int
    run: str = ""  # the run of the event, for a watcher of a chain
    part: int = 0  # among the events of its sequence


class Place(NamedTuple):
    """The newest event that a watcher has seen before."""

    seq: int = 0
    part: int | None = None  # among the events of this sequence; None: the watcher gets each event as the log has it


class Token(msgspec.Struct, frozen=True):
    """A piece of a model's answer. It is ephemeral."""

    step: str = ""
    attempt: int = 0
    offset: int = 0  # characters before it in this attempt's answer
    text: str = ""


_token_decoder = msgspec.json.Decoder(Token)
Piece = list[Seen | Token]


class Watchers:
    """Admits at most `watchers_max` streams. Each is bounded and leaves nothing behind when its client goes."""

    def __init__(self) -> None:
        self._gate = Gate(_too_many)

    async def watch(
        self,
        call: Call,
        run_id: str,
        after: Place,
        include_tokens: bool,
        gather_s: float = 0.0,
        follow_chain: bool = False,
    ) -> AsyncGenerator[Piece, None]:
        """Yields events and tokens until the run's terminal event. NotFoundError, OverloadedError.

        gather_s: the least time between two pieces of a run that goes on; it is longer while many watch.
        follow_chain: goes on with the run that continues this one.
        """
        with self._gate.entered(call.deps.settings.watchers_max):
            while run_id:
                feed = _Feed(after, run_id if follow_chain else "")
                async with contextlib.aclosing(_followed(call, run_id, feed, include_tokens, gather_s)) as pieces:
                    async for piece in pieces:
                        yield piece
                run_id = feed.continued_as if follow_chain else ""


async def _followed(
    call: Call, run_id: str, feed: _Feed, include_tokens: bool, gather_s: float
) -> AsyncGenerator[Piece, None]:
    """Yields what a watcher gets of one run."""
    settings, key = call.deps.settings, run_key(call, run_id)
    async with contextlib.AsyncExitStack() as stack:
        tails = call.deps.tails
        following = await stack.enter_async_context(tails.following(key, settings.watch_queue_max))
        while True:
            whole = None if include_tokens else following.whole()
            newest = await newest_at_leader(call, key) if whole is None else 0
            piece, size = Piece(), 0
            async for stored in _stored(call, key, feed.last_seq) if whole is None else _after(whole, feed):
                if include_tokens and not feed.last_seq and _has_model_steps(stored.data):
                    await stack.enter_async_context(_tokens(call, run_id, following))
                for seen in feed.add(stored):
                    piece.append(seen)
                    size += len(seen.data)
                if len(piece) >= PIECE_MAX or size > PIECE_BYTES_MAX:
                    yield piece
                    piece, size = Piece(), 0
            if piece:
                yield piece
            if not feed.last_seq and whole is None and not newest:
                raise no_such_run(run_id)
            if feed.has_ended():
                return
            if feed.last_seq < newest:
                await asyncio.sleep(LAG_S)
                continue
            while not following.lost:
                if piece := feed.piece(await following.take(gather_s=tails.gather_s(gather_s))):
                    yield piece
                if feed.has_ended():
                    return
            following.begin_again()  # the client is slow: what it has not got is in the log


def _too_many(text: str) -> OverloadedError:
    text += " watchers; try again, or poll GetRun"
    return OverloadedError(text, kind="too_many_watchers", retry_after_ms=2000)


def _stored(call: Call, key: subjects.EntityKey, after_seq: int) -> AsyncIterator[Stored]:
    """Yields what the log has, at first from its start: the progress needs it all."""
    if not after_seq:
        return archive.messages(call, key)
    return call.deps.log.messages(subjects.run_all(key), after_seq)


async def _after(whole: Sequence[Delivery], feed: _Feed) -> AsyncIterator[Delivery]:
    """Yields what is at hand and was not added to the feed yet."""
    for item in tuple(whole):
        if item.seq > feed.last_seq:
            yield item


class _Feed:
    """What a watcher gets: each event once, in order, with the progress. Pure."""

    def __init__(self, after: Place, run: str = "") -> None:
        self.last_seq = 0  # of the newest message that was added
        self.continued_as = ""  # the run that goes on in the place of this one
        self._run = run  # is named beside each event, if it is not empty
        self._after = (after.seq, after.part or 0)  # events up to this one are folded and not shown
        self._apart = after.part is not None  # steps that were reported together are shown one by one
        self._progress = Progress()

    def has_ended(self) -> bool:
        return self._progress.ended

    def piece(self, items: list[Any]) -> Piece:
        """Returns what there is to show of items that have come, up to the end of the run."""
        piece = Piece()
        for item in items:
            if isinstance(item, Token):
                piece.append(item)
            elif item.seq > self.last_seq and not self.has_ended():
                piece.extend(self.add(item))
        return piece

    def add(self, item: Stored | Delivery) -> Sequence[Seen]:
        """Folds a message. Returns what there is to show of it."""
        self.last_seq = item.seq
        event, progress = readable(item.subject, item.data), self._progress
        if event is None:
            log.warning("an event can't be read by this version", extra={"seq": item.seq})
            return ()
        if isinstance(event, ev.ClaimTaken) or (progress.ended and not isinstance(event, ev.TERMINAL_RUN)):
            return ()
        if isinstance(event, ev.RunCompleted):
            self.continued_as = event.continued_as
        found = ev.single(event) if self._apart else (event,)
        try:
            return [seen for part, one in enumerate(found) if (seen := self._add(item, one, part, event)) is not None]
        except (AttributeError, LookupError, TypeError, ValueError):  # an event's shape with nonsense in it
            log.warning("an event makes no sense", extra={"seq": item.seq})
            return ()

    def _add(self, item: Stored | Delivery, one: ev.Event, part: int, whole: ev.Event) -> Seen | None:
        """Folds one of the events that a message stands for."""
        progress = self._progress
        progress.add(one)
        if (item.seq, part) <= self._after:
            return None
        return Seen(
            seq=item.seq,
            event=one,
            data=item.data if one is whole else ev.encode(one),
            status=progress.status,
            cost_nano=progress.cost_nano,
            steps_done=progress.steps_done,
            steps_total=progress.steps_total,
            run=self._run,
            part=part,
        )


def _has_model_steps(submitted: bytes) -> bool:
    """True if a run's first event may define a step that calls a model: only these have tokens."""
    return b'"llm"' in submitted


@contextlib.asynccontextmanager
async def _tokens(call: Call, run_id: str, following: Following) -> AsyncIterator[None]:
    """Lets the follower get the run's tokens, as far as it has room: a step's event has the whole text."""
    subscription = await hand_over(call.deps.nc, subjects.live_run(run_id), _relay(following))
    try:
        yield
    finally:
        with contextlib.suppress(nats.errors.Error):
            await asyncio.shield(subscription.unsubscribe())


def _relay(following: Following) -> Callable[[Msg | Message], None]:
    def on_token(msg: Msg | Message) -> None:
        try:
            following.put_passing(_token_decoder.decode(msg.data))
        except UNREADABLE:
            log.debug("a live message is not a token")

    return on_token
