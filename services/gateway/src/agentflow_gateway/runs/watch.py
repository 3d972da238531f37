"""Follows a run: its events from the log, then live ones, and on request the model tokens of running steps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

import msgspec
import nats.errors
from nats.aio.msg import Msg

from agentflow_common import events as ev
from agentflow_common import subjects, tasks
from agentflow_common.errors import UNREADABLE, OverloadedError
from agentflow_common.log.consumers import Delivery
from agentflow_common.log.event_log import Stored
from agentflow_common.runs.fold import readable
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.gate import Gate
from agentflow_gateway.runs import archive
from agentflow_gateway.runs.lookup import no_such_run, run_key
from agentflow_gateway.runs.progress import Progress

log = logging.getLogger(__name__)


class Seen(msgspec.Struct, frozen=True):
    """An event, and the run's progress once it is folded."""

    seq: int
    event: ev.Event
    data: bytes  # the event as the log has it
    status: str
    cost_nano: int
    steps_done: int
    steps_total: int


class Token(msgspec.Struct, frozen=True):
    """A piece of a model's answer. It is ephemeral."""

    step: str = ""
    attempt: int = 0
    offset: int = 0  # characters before it in this attempt's answer
    text: str = ""


_token_decoder = msgspec.json.Decoder(Token)
Queue = asyncio.Queue[Seen | Token | BaseException | None]


class Watchers:
    """Admits at most `watchers_max` streams. Each is bounded and leaves nothing behind when its client goes."""

    def __init__(self) -> None:
        self._gate = Gate(_too_many)

    async def watch(
        self, call: Call, run_id: str, after_seq: int, include_tokens: bool
    ) -> AsyncGenerator[Seen | Token, None]:
        """Yields events and tokens until the run's terminal event. NotFoundError, OverloadedError."""
        settings, key = call.deps.settings, run_key(call, run_id)
        queue = Queue(settings.watch_queue_max)
        subscription: Any = None
        producer: asyncio.Task[None] | None = None
        with self._gate.entered(settings.watchers_max):
            try:
                if include_tokens:
                    subscription = await call.deps.nc.subscribe(subjects.live_run(run_id), cb=_relay(queue))
                producer = asyncio.create_task(_produce(call, key, _Feed(queue, Progress(), after_seq)))
                while (item := await queue.get()) is not None:
                    if isinstance(item, BaseException):
                        raise item
                    yield item
            finally:
                await asyncio.shield(_clean_up(producer, subscription))


def _too_many(text: str) -> OverloadedError:
    text += " watchers; try again, or poll GetRun"
    return OverloadedError(text, kind="too_many_watchers", retry_after_ms=2000)


class _Feed(NamedTuple):
    """A watcher's queue, and what has been put into it."""

    queue: Queue
    progress: Progress
    after_seq: int  # events up to this one are folded and not put

    async def put(self, item: Stored | Delivery) -> None:
        event, progress = readable(item.subject, item.data), self.progress
        if event is None:
            log.warning("an event can't be read by this version", extra={"seq": item.seq})
            return
        if isinstance(event, ev.ClaimTaken) or (progress.ended and not isinstance(event, ev.TERMINAL_RUN)):
            return
        try:
            progress.add(event)
        except (AttributeError, LookupError, TypeError, ValueError):  # an event's shape with nonsense in it
            log.warning("an event makes no sense", extra={"seq": item.seq})
            return
        if item.seq > self.after_seq:
            seen = Seen(
                seq=item.seq,
                event=event,
                data=item.data,
                status=progress.status,
                cost_nano=progress.cost_nano,
                steps_done=progress.steps_done,
                steps_total=progress.steps_total,
            )
            await self.queue.put(seen)


def _relay(queue: Queue) -> Any:
    async def on_token(msg: Msg) -> None:
        try:
            queue.put_nowait(_token_decoder.decode(msg.data))
        except asyncio.QueueFull:
            pass  # the viewer sees the gap in the offsets; the step's event has the whole text
        except UNREADABLE:
            log.debug("a live message is not a token")

    return on_token


async def _produce(call: Call, key: subjects.EntityKey, feed: _Feed) -> None:
    """Fills the queue. It waits while the queue is full, so a slow client slows its own reading and nothing else."""
    try:
        last_seq = await _replay(call, key, feed)
        if not feed.progress.ended:
            await _follow(call, key, last_seq, feed)
        await feed.queue.put(None)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        await feed.queue.put(error)


async def _replay(call: Call, key: subjects.EntityKey, feed: _Feed) -> int:
    """Puts what the log has now, from its start: the progress needs it all. Returns the newest sequence."""
    last_seq = 0
    async for stored in archive.messages(call, key):
        await feed.put(stored)
        last_seq = stored.seq
    if not last_seq:
        raise no_such_run(key.name)
    return last_seq


async def _follow(call: Call, key: subjects.EntityKey, last_seq: int, feed: _Feed) -> None:
    tail = call.deps.log.tail([subjects.run_all(key)], last_seq + 1)
    try:
        while True:
            for delivery in await tail.batch(wait_s=5.0):
                await feed.put(delivery)
                if feed.progress.ended:
                    return
    finally:
        await asyncio.shield(tail.stop())


async def _clean_up(producer: asyncio.Task[None] | None, subscription: Any) -> None:
    if producer is not None:
        await tasks.stop([producer])
    if subscription is not None:
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()
