"""Answers `af.rpc.scheduler.replay`: reads a log, or its archive, and has it replayed in another process."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import Final

import msgspec
from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import (
    AgentFlowError,
    InvalidError,
    NotFoundError,
    OverloadedError,
    RetryableError,
    from_body,
)
from agentflow_common.log.blobs import Blobs
from agentflow_common.log.event_log import EventLog
from agentflow_common.metrics.trace import REPLAY_DIVERGENCES
from agentflow_common.rpc import ARCHIVED, ArchiveRequest, bus
from agentflow_common.rpc.scheduler import DIVERGED, REPLAY, ReplayReply, ReplayRequest
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.replay import history
from agentflow_scheduler.replay.child import LENGTH_BYTES, Answer, Question

BYTES_MAX: Final = 128 * 1024 * 1024  # of one log with its values
HISTORY_CHARS_MAX: Final = 5 * 1024 * 1024  # below the bound of an answer
WAITING_MAX: Final = 16  # replays that wait for the one before
ANSWER_S_MAX: Final = 55.0
Messages = list[tuple[str, bytes, int]]


class Replays:
    """Replays one log at a time. The process is started by the first question and ends with the service."""

    def __init__(self, nc: Client, log: EventLog) -> None:
        self._nc = nc
        self._log = log
        self._blobs = Blobs(nc)
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def routes(self) -> list[bus.Route]:
        return [(REPLAY, self.replay)]

    async def replay(self, request: ReplayRequest) -> ReplayReply:
        """Answers a question. NotFoundError for a run that neither the log nor the archive has."""
        if self._waiting >= WAITING_MAX:
            raise OverloadedError("too many replays wait on this scheduler; try again", kind="replays_waiting")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._replay(request)
        finally:
            self._waiting -= 1

    async def _replay(self, request: ReplayRequest) -> ReplayReply:
        key, began = subjects.key_of(request.org, request.run), time.perf_counter()
        messages, archived = await self._messages(key)
        values = await self._values(messages)
        reply = await self._ask(Question(key.org, key.name, messages, values))
        if reply.verdict == DIVERGED:
            REPLAY_DIVERGENCES.labels("mock").inc()
        duration_ms = (time.perf_counter() - began) * 1e3
        lines = history.lines(messages, values) if request.history else ()
        if sum(map(len, lines)) > HISTORY_CHARS_MAX:
            text = f"the history is larger than {HISTORY_CHARS_MAX:,} characters; replay it without saving it"
            raise InvalidError(text, kind="history_too_large")
        return msgspec.structs.replace(reply, archived=archived, duration_ms=duration_ms, history=lines)

    async def _messages(self, key: EntityKey) -> tuple[Messages, bool]:
        """Returns the messages of an entity, and True if they are from the archive."""
        found: Messages = []
        size = 0
        async for stored in self._log.messages(subjects.run_all(key)):
            if not found and key.kind == "run" and not isinstance(ev.try_decode(stored.data), ev.RunSubmitted):
                break  # late reports about a run that was purged
            found.append((stored.subject, stored.data, stored.seq))
            size = _checked(size + len(stored.data))
        if found:
            return found, False
        after, more = 0, key.kind == "run"
        while more:
            page = await bus.call(self._nc, ARCHIVED, ArchiveRequest(org=key.org, run=key.name, after_seq=after))
            for event in page.events:
                found.append((event.subject, event.body.encode(), event.seq))
                size = _checked(size + len(event.body))
                after = event.seq
            more = page.more
        if not found:
            raise NotFoundError(f"there is no {key.kind} {key.name!r}", kind="unknown_run")
        return found, True

    async def _values(self, messages: Messages) -> dict[str, msgspec.Raw]:
        """Returns the values that the events refer to. One that is lost is left out: it may not be needed."""
        values: dict[str, msgspec.Raw] = {}
        size = sum(len(data) for _, data, _ in messages)
        for sha, ref in history.references(history.from_messages(messages)).items():
            size = _checked(size + ref.size)
            try:
                values[sha] = msgspec.Raw(msgspec.json.encode(await self._blobs.fetch(ref)))
            except RetryableError as error:
                if error.kind != "blob_missing":
                    raise
        return values

    async def _ask(self, question: Question) -> ReplayReply:
        data = msgspec.json.encode(question)
        process = await self._started()
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                process.stdin.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)
                await process.stdin.drain()
                length = int.from_bytes(await process.stdout.readexactly(LENGTH_BYTES), "big")
                answer = msgspec.json.decode(await process.stdout.readexactly(length), type=Answer)
        except TimeoutError as error:
            text = f"the replay of {len(question.messages):,} events took longer than {ANSWER_S_MAX:g} s"
            raise InvalidError(text, kind="replay_too_long") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise AgentFlowError("the process that replays has ended; see the scheduler's log") from error
        finally:
            if sys.exc_info()[0] is not None:
                await self.close()  # its answer may still come, and belongs to no question
        if answer.error is not None:
            raise from_body(answer.error)
        assert answer.ok is not None  # noqa: S101
        return answer.ok

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "agentflow_scheduler.replay.child",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
        return self._process

    async def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _checked(size: int) -> int:
    if size > BYTES_MAX:
        raise InvalidError(f"the log and its values are larger than {BYTES_MAX:,} bytes", kind="replay_too_large")
    return size
