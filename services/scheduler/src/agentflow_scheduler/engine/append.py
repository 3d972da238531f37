"""Appends of one turn: the decisions of many entities go out together and are awaited once.

Every append of an entity is fenced by the newest decision that this scheduler knows of (`out_seq`),
so a scheduler that has lost its shard writes nothing. There are three ways to append:

- One decision is one pipelined publish.
- A few decisions form a sequence, each fenced by the one before. That is a round trip each, and still cheaper than an
  atomic batch.
- The rest form atomic batches: many decisions, the decisions of many entities under fsync, and decisions that send
  facts to other entities. A decision and its facts are one append.

A lane's few facts follow its decisions, because it sends them again whenever it is read from the
log (ADR 0004). An append of more than one batch may be written in part. It is completed by deciding
again: decisions follow from the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import AgentFlowError
from agentflow_common.log.event_log import ATOMIC_BATCH_MAX, Ack, Entry, EventLog, Fence
from agentflow_common.log.group_commit import BATCH_MIN
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.entities import Entity
from agentflow_scheduler.lanes.machine import Lane
from agentflow_scheduler.schedules.machine import subject_of_schedule

SEQUENCE_MAX: Final = 3
_ABOUT_THE_RUN: Final = (
    ev.RunStarted,
    ev.RunCompleted,
    ev.RunFailed,
    ev.RunCancelled,
    ev.RunPaused,
    ev.RunResumed,
    ev.RunStopped,
    ev.RunBreakpointsSet,
    ev.RunWaiting,
    ev.RunQueued,
    ev.RunLocking,
    ev.RunUnlocked,
    ev.RunCancelling,
    ev.RunCompensating,
    ev.RunFinishing,
)


def subject_of(key: EntityKey, decision: ev.Decision) -> str:
    """Returns the subject of a decision.

    It is a task's pool, `out.run` for decisions about the run, or `out.step`.
    """
    if isinstance(decision, ev.StepScheduled):
        return subjects.out_task(key, decision.lane)
    if isinstance(decision, ev.SCHEDULE_EVENTS):
        return subject_of_schedule(key, decision)
    return subjects.out_run(key) if isinstance(decision, _ABOUT_THE_RUN) else subjects.out_step(key)


class Turn(msgspec.Struct, eq=False):
    """The decisions of one entity in one turn, and the facts that it sends to others."""

    key: EntityKey
    entity: Entity
    decisions: Sequence[ev.Decision]
    encoded: Sequence[bytes]  # each decision's bytes, packed to fit an event
    sent: Sequence[Entry] = ()  # facts for other entities
    groups: Sequence[tuple[int, int]] = ()  # how many decisions and facts belong together, in order
    first: asyncio.Future[Ack] | None = None  # of the first decision, if it was published by itself

    def entry(self, index: int, fence_seq: int | None) -> Entry:
        fence = None if fence_seq is None else Fence(fence_seq, subjects.run_out_all(self.key))
        return Entry(subject_of(self.key, self.decisions[index]), self.encoded[index], fence=fence)

    @property
    def loose(self) -> bool:
        """True if its facts may follow its decisions.

        A lane sends a grant again after a crash, but neither a refusal nor a cancel.
        """
        refused = any(isinstance(decision, ev.LaneRefused | ev.LaneCancelling) for decision in self.decisions)
        return isinstance(self.entity, Lane) and len(self.sent) <= SEQUENCE_MAX and not refused

    def batches(self) -> list[list[tuple[int, int]]]:
        """Returns atomic batches as lists of (decisions, facts), each batch as large as the server accepts."""
        if not self.sent:
            total = len(self.decisions)
            return [[(min(ATOMIC_BATCH_MAX, total - at), 0)] for at in range(0, total, ATOMIC_BATCH_MAX)]
        batches: list[list[tuple[int, int]]] = [[]]
        size = 0
        for group in self.groups:
            if size + sum(group) > ATOMIC_BATCH_MAX and batches[-1]:
                batches.append([])
                size = 0
            batches[-1].append(group)
            size += sum(group)
        return batches


def _linked(turns: Sequence[Turn], shared: bool) -> tuple[list[list[Turn]], list[Turn]]:
    """Returns (groups of turns that share an atomic batch, turns that are appended by themselves).

    Turns that send facts share batches; if `shared`, all turns do.
    """
    groups: list[list[Turn]] = []
    others: list[Turn] = []
    size = ATOMIC_BATCH_MAX
    for turn in turns:
        messages = len(turn.decisions) + len(turn.sent)
        if not (turn.sent or shared) or turn.first is not None or messages > ATOMIC_BATCH_MAX:
            others.append(turn)
            continue
        if size + messages > ATOMIC_BATCH_MAX:
            groups.append([])
            size = 0
        groups[-1].append(turn)
        size += messages
    return groups, others


class Appender:
    """Writes turns."""

    def __init__(self, log: EventLog, fsync: bool) -> None:
        self._log = log
        self._fsync = fsync  # every acknowledgement waits for the disk, so messages share one

    async def write(self, turns: Sequence[Turn]) -> list[tuple[Turn, BaseException]]:
        """Appends all turns.

        Returns the turns that were refused or whose outcome is unknown, each with its error.
        """
        shared = self._fsync and sum(len(t.decisions) + len(t.sent) for t in turns) >= BATCH_MIN
        # the first message of every entity leaves before any answer is awaited
        for turn in () if shared else turns:
            if 0 < len(turn.decisions) <= SEQUENCE_MAX and (not turn.sent or turn.loose):
                turn.first = await self._log.publish(turn.entry(0, turn.entity.state.out_seq))
        simple = [(t, t.first) for t in turns if t.first is not None and len(t.decisions) == 1 and not t.sent]
        linked, others = _linked([t for t in turns if t.first is None or len(t.decisions) > 1 or t.sent], shared)
        groups = [asyncio.ensure_future(self._group(group)) for group in linked]
        tasks = [asyncio.ensure_future(self._rest(turn)) for turn in others]
        failed: list[tuple[Turn, BaseException]] = []
        for turn, first in simple:
            try:
                turn.entity.state.out_seq = (await first).seq
            except Exception as error:
                failed.append((turn, error))
        for turn, result in zip(others, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
            if isinstance(result, BaseException):
                failed.append((turn, result))
        for some in await asyncio.gather(*groups):
            failed.extend(some)
        return failed

    async def _group(self, turns: Sequence[Turn]) -> list[tuple[Turn, BaseException]]:
        """Appends turns in one atomic batch, which costs milliseconds however small it is."""
        try:
            await self._together(turns)
        except AgentFlowError:  # one entity's refusal refuses all: each is tried by itself
            results = await asyncio.gather(*map(self._rest, turns), return_exceptions=True)
            return [(t, error) for t, error in zip(turns, results, strict=True) if isinstance(error, BaseException)]
        return []

    async def _together(self, turns: Sequence[Turn]) -> None:
        entries: list[Entry] = []
        for turn in turns:
            entries.extend(
                turn.entry(i, turn.entity.state.out_seq if i == 0 else None) for i in range(len(turn.decisions))
            )
            entries.extend(turn.sent)
        ack = await self._log.append_batch(entries)
        position = ack.seq - len(entries)  # a batch is contiguous in the stream
        for turn in turns:
            position += len(turn.decisions)
            if turn.decisions:
                turn.entity.state.out_seq = position
            position += len(turn.sent)

    async def _rest(self, turn: Turn) -> None:
        state = turn.entity.state
        if turn.first is not None:
            state.out_seq = (await turn.first).seq
            for index in range(1, len(turn.decisions)):
                ack = await self._log.append(turn.entry(index, state.out_seq))
                state.out_seq = ack.seq
            for sent_fact in [await self._log.publish(entry) for entry in turn.sent]:
                await sent_fact
            return
        at = sent = 0
        for batch in turn.batches():
            entries: list[Entry] = []
            last = -1
            for decisions, sends in batch:
                for index in range(at, at + decisions):
                    fence_seq = state.out_seq if last < 0 else None
                    last = len(entries)
                    entries.append(turn.entry(index, fence_seq))
                entries.extend(turn.sent[sent : sent + sends])
                at += decisions
                sent += sends
            ack = await self._log.append_batch(entries)
            if last >= 0:
                state.out_seq = ack.seq - (len(entries) - 1 - last)
