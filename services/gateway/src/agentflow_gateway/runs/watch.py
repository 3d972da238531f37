"""Following a run: its events from the log, then live ones, and the tokens of running steps for who asks for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import nats.errors
from nats.aio.msg import Msg

from agentflow_common import events as ev
from agentflow_common import subjects, tasks
from agentflow_common.errors import UNREADABLE, OverloadedError
from agentflow_common.log.consumers import Delivery
from agentflow_common.log.event_log import Stored
from agentflow_common.runs.fold import readable
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import archive
from agentflow_gateway.runs.progress import Progress
from agentflow_gateway.runs.submit import no_such_run, run_key

log = logging.getLogger(__name__)


class Seen(msgspec.Struct, frozen=True):
    """An event and the run's progress once it is folded. data: the event as it stands in the log."""

    seq: int
    event: ev.Event
    data: bytes
    status: str
    cost_nano: int
    steps_done: int
    steps_total: int


class Token(msgspec.Struct, frozen=True):
    """A piece of a model's answer: ephemeral. offset: characters before it in this attempt's answer."""

    step: str = ""
    attempt: int = 0
    offset: int = 0
    text: str = ""


_token_decoder = msgspec.json.Decoder(Token)


class Watchers:
    """Admits at most `watchers_max` streams; each is bounded and leaves nothing behind when its client goes."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self.active = 0
        self.tokens_dropped = 0

    async def watch(
        self, call: Call, run_id: str, after_seq: int, include_tokens: bool
    ) -> AsyncGenerator[Seen | Token, None]:
        """Ends after the run's terminal event. NotFoundError, OverloadedError."""
        limit = self._deps.settings.watchers_max
        if self.active >= limit:
            raise OverloadedError(
                f"the gateway serves {limit} watchers already; try again, or poll GetRun",
                kind="too_many_watchers",
                retry_after_ms=2000,
            )
        key = run_key(call, run_id)
        self.active += 1
        queue: asyncio.Queue[Seen | Token | BaseException | None] = asyncio.Queue(self._deps.settings.watch_queue_max)
        subscription: Any = None
        producer: asyncio.Task[None] | None = None
        try:
            if include_tokens:
                subscription = await self._deps.nc.subscribe(subjects.live_run(run_id), cb=self._relay(queue))
            producer = asyncio.create_task(self._produce(key, after_seq, queue))
            while (item := await queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.active -= 1
            await asyncio.shield(_clean_up(producer, subscription))

    def _relay(self, queue: asyncio.Queue[Any]) -> Any:
        async def on_token(msg: Msg) -> None:
            try:
                queue.put_nowait(_token_decoder.decode(msg.data))
            except asyncio.QueueFull:
                self.tokens_dropped += 1  # the viewer sees the gap in the offsets; the step's event has the whole text
            except UNREADABLE:
                log.debug("a live message is not a token")

        return on_token

    async def _produce(self, key: subjects.EntityKey, after_seq: int, queue: asyncio.Queue[Any]) -> None:
        """Fills the queue; waits while it is full, so a slow client slows its own reading and nothing else."""
        try:
            progress = Progress()
            last_seq = await self._replay(key, after_seq, queue, progress)
            if not progress.ended:
                await self._follow(key, max(after_seq, last_seq), last_seq, queue, progress)
            await queue.put(None)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            await queue.put(error)

    async def _replay(
        self, key: subjects.EntityKey, after_seq: int, queue: asyncio.Queue[Any], progress: Progress
    ) -> int:
        """What the log holds now, from its start (the progress needs it all); returns the newest sequence."""
        last_seq = 0
        async for stored in archive.messages(self._deps, key):
            await _put(queue, progress, stored, after_seq)
            last_seq = stored.seq
        if not last_seq:
            raise no_such_run(key.name)
        return last_seq

    async def _follow(
        self, key: subjects.EntityKey, after_seq: int, last_seq: int, queue: asyncio.Queue[Any], progress: Progress
    ) -> None:
        tail = self._deps.log.tail([subjects.run_all(key)], last_seq + 1)
        try:
            while True:
                for delivery in await tail.batch(wait_s=5.0):
                    await _put(queue, progress, delivery, after_seq)
                    if progress.ended:
                        return
        finally:
            await asyncio.shield(tail.stop())


async def _put(queue: asyncio.Queue[Any], progress: Progress, item: Stored | Delivery, after_seq: int) -> None:
    event, seq = readable(item.subject, item.data), item.seq
    if event is None:
        log.warning("an event can't be read by this version", extra={"seq": seq})
        return
    if isinstance(event, ev.ClaimTaken) or (progress.ended and not isinstance(event, ev.TERMINAL_RUN)):
        return
    try:
        progress.add(event)
    except (AttributeError, LookupError, TypeError, ValueError):  # an event's shape with nonsense in it
        log.warning("an event makes no sense", extra={"seq": seq})
        return
    if seq > after_seq:
        seen = Seen(
            seq, event, item.data, progress.status, progress.cost_nano, progress.steps_done, progress.steps_total
        )  # fmt: skip
        await queue.put(seen)


async def _clean_up(producer: asyncio.Task[None] | None, subscription: Any) -> None:
    if producer is not None:
        await tasks.stop([producer])
    if subscription is not None:
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()
