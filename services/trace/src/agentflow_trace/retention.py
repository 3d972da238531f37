"""Retention: finished runs leave the log once all of their messages are archived.

A run may be purged when all of this is true:

- Its final event is old enough, and no message about it came since.
- ClickHouse has every message of the run, and the ledgers.
- Every durable consumer has seen the run.
- No snapshot of the scheduler lists it as unfinished.

The order of writes makes it safe to be killed at any point. The runs to purge are noted in
ClickHouse, then in the log's own bucket, then purged, and then noted as done. Each of these steps
may be repeated without effect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError, KeyNotFoundError, NotFoundError, ObjectNotFoundError

from agentflow_common import subjects
from agentflow_common.clock import Clock
from agentflow_common.errors import UNREADABLE, AgentFlowError, InvalidError, RetryableError
from agentflow_common.log import object_reads
from agentflow_common.log.durables import seen_by_all
from agentflow_common.log.event_log import EventLog
from agentflow_common.metrics.trace import RUNS_ARCHIVED, RUNS_WAITING
from agentflow_common.rpc import Empty, RetentionReply, SetRetentionRequest
from agentflow_trace.ingest import Ingest
from agentflow_trace.settings import TraceSettings
from agentflow_trace.store_archive import ArchiveStore, Ended, Purged

log = logging.getLogger(__name__)

BATCH_RUNS: Final = 100  # noted, purged and noted as done together
LEDGERS_S_MAX: Final = 10.0
KEEP_KEY: Final = "retention"
PURGED_KEY: Final = "retention_purged"


class Keep(msgspec.Struct, frozen=True):
    """The retention that an operator has set."""

    keep_ms: int  # 0: forever
    by: str = ""
    at: int = 0  # ms since the epoch


class _PurgedTo(msgspec.Struct, frozen=True):
    log: str
    seq: int


class _Name(msgspec.Struct, frozen=True):
    org: str
    run: str


class _Snapshot(msgspec.Struct, frozen=True):
    """The part of a scheduler's snapshot that names its unfinished runs."""

    seq: int
    runs: list[_Name]


class Retention:
    """Sweeps until cancelled.

    Call `begin` first, once ClickHouse is open and the streams are prepared.
    """

    def __init__(
        self,
        event_log: EventLog,
        archive: ArchiveStore,
        streams: Sequence[Ingest],
        settings: TraceSettings,
        clock: Clock,
    ) -> None:
        self._log = event_log
        self._nc: Client = event_log.nc
        self._archive = archive
        self._streams = {ingest.stream: ingest for ingest in streams}
        self._settings = settings
        self._clock = clock
        self._wake = asyncio.Event()
        self._identity = ""
        self._floor = 0  # every run that ended up to this sequence was purged
        self._late_floor = 0
        self._purged_to = 0
        self._swept_at = 0
        self._waiting: dict[str, int] = {}
        self._snapshots: dict[int, tuple[str, frozenset[tuple[str, str]]]] = {}
        self._unfinished: dict[int, frozenset[tuple[str, str]] | None] = {}  # by shard, for this sweep

    # --- the setting ---

    async def keep(self) -> Keep:
        try:
            entry = await (await self._bucket()).get(KEEP_KEY)
            return msgspec.json.decode(entry.value or b"", type=Keep)
        except (KeyNotFoundError, *UNREADABLE):
            return Keep(round(self._settings.retention_hours * 3_600_000))

    async def change(self, request: SetRetentionRequest) -> RetentionReply:
        least = round(self._settings.retention_min_s * 1000)
        if request.keep_ms < 0 or 0 < request.keep_ms < least:
            fix = f"give at least {least // 1000} s, or keep runs forever"
            raise InvalidError.at("keep_ms", "this retention is too short to be safe", fix)
        value = msgspec.json.encode(Keep(request.keep_ms, request.by, self._clock.now_ms()))
        await (await self._bucket()).put(KEEP_KEY, value)
        log.info("retention set", extra={"keep_ms": request.keep_ms, "by": request.by})
        self._wake.set()
        return await self.report(Empty())

    async def report(self, _request: Empty) -> RetentionReply:
        keep = await self.keep()
        info = await self._nc.jsm().stream_info(subjects.EVENTS_STREAM)
        archived, _ = await self._archive.totals(self._identity)
        lost_from, lost_to = await self._archive.losses(self._identity)
        return RetentionReply(
            keep_ms=keep.keep_ms,
            set_by=keep.by,
            set_at=keep.at,
            archived_runs=archived,
            waiting_runs=sum(self._waiting.values()),
            waiting_for="; ".join(f"{count}: {why}" for why, count in self._waiting.items()),
            swept_at=self._swept_at,
            log_messages=info.state.messages,
            log_bytes=info.state.bytes,
            archived_to_seq=self._streams[subjects.EVENTS_STREAM].ingested,
            lost_from_seq=lost_from,
            lost_to_seq=lost_to,
        )

    async def _bucket(self) -> Any:
        return await self._nc.jetstream().key_value(subjects.CONTROLS_BUCKET)

    # --- sweeping ---

    async def begin(self, held_to: int) -> None:
        """Records the runs that are lost if an older ClickHouse was restored.

        Runs that were purged after its backup are in no archive. held_to: the newest sequence that
        ClickHouse had at the start.
        """
        self._identity = self._streams[subjects.EVENTS_STREAM].identity
        try:
            entry = await (await self._bucket()).get(PURGED_KEY)
            written = msgspec.json.decode(entry.value or b"", type=_PurgedTo)
        except KeyNotFoundError:
            return
        if written.log != self._identity:
            return
        self._purged_to = written.seq
        _, noted = await self._archive.totals(self._identity)
        _, known_loss = await self._archive.losses(self._identity)
        if written.seq > max(noted, held_to, known_loss):
            log.error(
                "the archive is older than the newest purge of the log: runs are lost",
                extra={"first": held_to + 1, "last": written.seq},
            )
            await self._archive.note_loss(self._identity, held_to + 1, written.seq)

    async def run(self) -> None:
        while True:
            try:
                await self.sweep()
            except (AgentFlowError, nats.errors.Error, APIError, TimeoutError) as error:
                log.warning("the retention sweep failed; trying again", extra={"error_type": type(error).__name__})
            except Exception:
                log.exception("the retention sweep failed; trying again")  # ClickHouse's driver has its own errors
            try:
                async with asyncio.timeout(self._settings.retention_sweep_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def sweep(self) -> int:
        """Purges the runs that may leave the log. Returns their number."""
        keep = await self.keep()
        now = self._clock.now_ms()
        waiting: dict[str, int] = {}
        self._unfinished.clear()
        count = 0
        if keep.keep_ms:
            cutoff = now - keep.keep_ms
            seen_to = await self._seen_to()
            after, to_seq = self._floor, await self._newest_before(cutoff)
            while True:
                runs = await self._archive.ended(self._identity, cutoff, after, to_seq, BATCH_RUNS)
                if not runs:
                    break
                count += await self._batch(runs, cutoff, seen_to, waiting)
                after = runs[-1][2]
            await self._sweep_late(cutoff, whole=not waiting)
        self._waiting, self._swept_at = waiting, self._clock.now_ms()
        RUNS_WAITING.set(sum(waiting.values()))
        return count

    async def _batch(
        self, runs: Sequence[tuple[str, str, int]], cutoff: int, seen_to: float, waiting: dict[str, int]
    ) -> int:
        going: list[tuple[Ended, int]] = []
        for item in await self._archive.details(self._identity, runs):
            why, messages = await self._obstacle(item, cutoff, seen_to)
            if why:
                waiting[why] = waiting.get(why, 0) + 1
            else:
                going.append((item, messages))
        await self._purge([Purged(i.org, i.run, i.newest_seq, i.ended_seq, n, False) for i, n in going],
                          {(i.org, i.run) for i, _ in going if i.timers})  # fmt: skip
        RUNS_ARCHIVED.inc(len(going))
        if not waiting:
            self._floor = runs[-1][2]
        return len(going)

    async def _obstacle(self, item: Ended, cutoff: int, seen_to: float) -> tuple[str, int]:
        """Returns (why the run can't be purged yet, or an empty string; the number of its messages
        in the log).
        """
        if not item.ended or item.newest_at > cutoff:
            return "new messages about them came after their end", 0
        if item.newest_seq > seen_to:
            return "a consumer has not seen them", 0
        if await self._snapshot_holds(item.org, item.run):
            return "a snapshot of the scheduler still lists them as unfinished", 0
        key = subjects.key_of(item.org, item.run)
        info = await self._nc.jsm().stream_info(subjects.EVENTS_STREAM, subjects_filter=subjects.run_all(key))
        held = sum((info.state.subjects or {}).values())
        return ("the archive does not have all of their messages" if held > item.rows else ""), held

    async def _purge(self, going: list[Purged], timers: set[tuple[str, str]]) -> None:
        """Notes the runs, purges them, and notes that they are done."""
        if not going:
            return
        await self._archive.note(self._identity, going)
        newest = max(item.up_to for item in going)
        if newest > self._purged_to:
            value = msgspec.json.encode(_PurgedTo(self._identity, newest))
            await (await self._bucket()).put(PURGED_KEY, value)
            self._purged_to = newest
        jsm = self._nc.jsm()
        for item in going:
            key = subjects.key_of(item.org, item.run)
            if item.messages:
                await jsm.purge_stream(subjects.EVENTS_STREAM, seq=item.up_to + 1, subject=subjects.run_all(key))
            if (item.org, item.run) in timers:
                await jsm.purge_stream(subjects.EVENTS_STREAM, subject=subjects.run_timers(key))
        await self._archive.note(self._identity, [item._replace(done=True) for item in going])

    async def _sweep_late(self, cutoff: int, *, whole: bool) -> None:
        """Removes late reports about purged runs from the log.

        They have no effect and stay in the archive.
        """
        top = self._streams[subjects.EVENTS_STREAM].ingested
        late = await self._archive.late(self._identity, cutoff, self._late_floor, BATCH_RUNS)
        await self._purge([Purged(org, run, seq, 0, count, False) for org, run, seq, count in late], set())
        if not late and whole:  # messages since `cutoff` were too young and are examined again
            self._late_floor = min(self._floor, top)

    # --- conditions of a purge ---

    async def _newest_before(self, moment_ms: int) -> int:
        """Returns a sequence such that every message from before that moment is at most there."""
        at = datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat()
        body = msgspec.json.encode({"next_by_subj": ">", "start_time": at, "batch": 1})
        try:
            reply = await self._nc.request(f"$JS.API.DIRECT.GET.{subjects.EVENTS_STREAM}", body, timeout=5)
        except nats.errors.Error as error:
            raise RetryableError("the event log is not reachable", kind="log_unavailable") from error
        seq = int((reply.headers or {}).get("Nats-Sequence", 0))
        return seq - 1 if seq else await self._log.last_seq()

    async def _seen_to(self) -> float:
        """Returns the sequence up to which every durable consumer and the archive are done, ledgers included."""
        seen = await seen_by_all(self._nc)
        for stream in (subjects.COST_STREAM, subjects.AUDIT_STREAM):
            await self._streams[stream].wait_for(await self._log.last_seq(stream), LEDGERS_S_MAX)
        return min(seen, self._streams[subjects.EVENTS_STREAM].ingested)

    async def _snapshot_holds(self, org: str, run: str) -> bool:
        """True if a scheduler that starts from its newest snapshot would take the run for
        unfinished.

        The run's final event must then stay in the log. An unreadable snapshot may list any run.
        """
        shard = subjects.shard_of(run)
        if shard not in self._unfinished:
            self._unfinished[shard] = await self._read_snapshot(shard)
        found = self._unfinished[shard]
        return found is None or (org, run) in found

    async def _read_snapshot(self, shard: int) -> frozenset[tuple[str, str]] | None:
        """Returns the runs of the shard's snapshot, or None if it can't be read.

        Reads it again if it has changed.
        """
        store = await self._nc.jetstream().object_store(subjects.SNAPSHOT_BUCKET)
        name = f"shard-{shard}"
        try:
            version = (await store.get_info(name)).nuid or ""
            if self._snapshots.get(shard, ("", None))[0] != version:
                found = msgspec.msgpack.decode(await object_reads.read(store, name), type=_Snapshot)
                self._snapshots[shard] = (version, frozenset((item.org, item.run) for item in found.runs))
        except (NotFoundError, ObjectNotFoundError):
            return frozenset()
        except msgspec.MsgspecError:
            return None
        return self._snapshots[shard][1]
