"""The event log on a real JetStream: fences, atomic batches, reading in order over a server that dies, work queues."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import nats
import pytest
from nats.js import api

from agentflow_common import subjects
from agentflow_common.errors import ConflictError, RetryableError
from agentflow_common.log import consumers, group_commit
from agentflow_common.log.consumers import Tail, WorkQueue
from agentflow_common.log.event_log import Entry, EventLog, Fence
from agentflow_common.log.group_commit import GroupCommit
from agentflow_common.log.streams import ensure_streams
from agentflow_common.runtime.service import connect
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration
KEY = subjects.key_of("o", "run_1")


@pytest.fixture(params=["service", "plain"])
async def log(request: pytest.FixtureRequest, nats_url: str) -> AsyncIterator[EventLog]:
    """Over a service's connection, which has the fast path, and over nats-py's own."""
    nc = await (connect(nats_url, "test") if request.param == "service" else nats.connect(nats_url))
    log = EventLog(nc)
    await log.start()
    yield log
    await nc.close()


async def test_a_fence_refuses_who_has_not_seen_the_newest(log: EventLog) -> None:
    await ensure_streams(log.nc)
    wildcard = subjects.run_out_all(KEY)
    first = await log.append(Entry(subjects.out_run(KEY), b"1", fence=Fence(0, wildcard)))
    with pytest.raises(ConflictError):
        await log.append(Entry(subjects.out_step(KEY), b"stale", fence=Fence(0, wildcard)))
    await log.append(Entry(subjects.out_step(KEY), b"2", fence=Fence(first.seq, wildcard)))
    # the facts of the run are no part of the fence
    await log.append(Entry(subjects.run_in(KEY), b"fact"))
    assert [s.data for s in await log.read(subjects.run_all(KEY))] == [b"1", b"2", b"fact"]


async def test_an_atomic_batch_is_all_or_nothing(log: EventLog) -> None:
    await ensure_streams(log.nc)
    other = subjects.key_of("o", "run_2")
    taken = await log.append(Entry(subjects.out_run(other), b"x"))
    batch = [
        Entry(subjects.out_run(KEY), b"1", fence=Fence(0, subjects.run_out_all(KEY))),
        Entry(subjects.out_step(KEY), b"2"),
        Entry(subjects.out_run(other), b"y", fence=Fence(0, subjects.run_out_all(other))),
    ]
    with pytest.raises(ConflictError):
        await log.append_batch(batch)
    assert await log.last_seq() == taken.seq
    batch[2] = Entry(subjects.out_run(other), b"y", fence=Fence(taken.seq, subjects.run_out_all(other)))
    ack = await log.append_batch(batch)
    assert [s.seq for s in await log.read(subjects.ALL_EVENTS)] == [taken.seq, ack.seq - 2, ack.seq - 1, ack.seq]


async def test_a_message_id_makes_repeating_harmless(log: EventLog) -> None:
    await ensure_streams(log.nc)
    entry = Entry(subjects.run_in(KEY), b"once", msg_id="m1")
    first, second = await log.append(entry), await log.append(entry)
    assert (second.duplicate, second.seq) == (True, first.seq)


async def test_reading_more_than_one_batch_gives_everything_in_order(log: EventLog) -> None:
    await ensure_streams(log.nc)
    for future in [await log.publish(Entry(subjects.run_in(KEY), str(i).encode())) for i in range(1200)]:
        await future
    assert [int(s.data) for s in await log.read(subjects.run_in(KEY))] == list(range(1200))
    assert len(await log.read(subjects.run_in(KEY), after_seq=1000)) == 200
    assert len(await log.read(subjects.run_in(KEY), limit=7)) == 7
    assert await log.read(subjects.run_in(subjects.key_of("o", "none"))) == []
    assert await log.last(subjects.out_run(KEY)) is None


async def test_the_newest_message_of_many_subjects(log: EventLog) -> None:
    await ensure_streams(log.nc)
    other = subjects.key_of("o", "run_2")
    for subject in (subjects.run_in(KEY), subjects.out_step(KEY), subjects.out_run(KEY), subjects.run_in(other)):
        await log.append(Entry(subject, subject.encode()))
    newest = await log.last(subjects.run_all(KEY))
    assert newest is not None
    assert (newest.seq, newest.subject, newest.data) == (3, subjects.out_run(KEY), subjects.out_run(KEY).encode())
    await log.nc.jetstream().purge_stream(subjects.EVENTS_STREAM, subject=subjects.out_run(KEY))
    before = await log.last(subjects.run_all(KEY))
    assert before is not None
    assert (before.seq, before.subject) == (2, subjects.out_step(KEY))
    assert await log.last(subjects.run_all(subjects.key_of("o", "none"))) is None


async def test_a_tail_of_nothing_says_at_once_that_it_has_caught_up(log: EventLog) -> None:
    """A worker that starts reads what operators have set, and mostly nothing is."""
    await ensure_streams(log.nc)
    tail = log.tail([subjects.ALL_INS])
    async with asyncio.timeout(PATIENCE_S):
        assert await tail.batch(10 * PATIENCE_S) == []
    assert tail.caught_up.is_set()
    await tail.stop()


async def test_a_tail_survives_the_death_of_the_server(nats_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "HEARTBEAT_S", 0.5)  # a plain connection tells a tail nothing of a new server
    nc = await nats.connect(nats_server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    await ensure_streams(nc)
    log = EventLog(nc)
    await log.start()
    tail = log.tail([subjects.ALL_INS])
    await tail.start()
    seen: list[int] = []

    async def read_until(count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(seen) < count:
                seen.extend(int(d.data) for d in await tail.batch(0.5))

    for i in range(1500):
        await log.append(Entry(subjects.run_in(KEY), str(i).encode()))
    await read_until(700)
    nats_server.kill()
    nats_server.start()
    for i in range(1500, 1600):
        entry = Entry(subjects.run_in(KEY), str(i).encode(), msg_id=f"m{i}")
        async with asyncio.timeout(PATIENCE_S):
            while True:  # an append whose acknowledgement died with the server is repeated under its id
                with contextlib.suppress(RetryableError):
                    await log.append(entry, timeout_s=1.0)
                    break
    await read_until(1600)
    assert seen == list(range(1600))
    await tail.stop()
    await nc.close()


async def test_a_schedule_delivers_on_its_target_at_its_time(log: EventLog) -> None:
    await ensure_streams(log.nc)
    due = datetime.now(UTC) + timedelta(seconds=1)
    at = due.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    headers = {"Nats-Schedule": f"@at {at}", "Nats-Schedule-Target": subjects.run_in(KEY)}
    await log.append(Entry(subjects.timer(KEY, "retry:a[1]:1"), b"due", headers=headers))
    assert await log.read(subjects.run_in(KEY)) == [] or datetime.now(UTC) >= due
    found = await until(lambda: log.read(subjects.run_in(KEY)))
    assert datetime.now(UTC) >= due
    assert [s.data for s in found] == [b"due"]


async def test_a_work_queue_never_holds_more_than_its_credit_and_gets_back_what_it_did_not_acknowledge(
    log: EventLog,
) -> None:
    await ensure_streams(log.nc)
    config = api.ConsumerConfig(
        durable_name="q", filter_subject=subjects.pool_tasks("default"), ack_policy=api.AckPolicy.EXPLICIT, ack_wait=1.0
    )
    await log.nc.jsm().add_consumer(subjects.EVENTS_STREAM, config)
    for i in range(30):
        await log.append(Entry(subjects.out_task(KEY, "default"), str(i).encode()))
    queue = WorkQueue(log.nc, subjects.EVENTS_STREAM, "q", credit=10)
    await queue.start()
    held = []
    async with asyncio.timeout(PATIENCE_S):
        while len(held) < 10:
            held += await queue.batch(0.2)
    assert (len(held), await queue.batch(0.2)) == (10, [])
    await queue.stop()
    successor = WorkQueue(log.nc, subjects.EVENTS_STREAM, "q", credit=50)
    await successor.start()
    taken: dict[int, int] = {}
    async with asyncio.timeout(PATIENCE_S):
        while len(taken) < 30:
            for delivery in await successor.batch(0.5):
                taken.setdefault(int(delivery.data), delivery.delivered)
                await log.ack(delivery)
                successor.release()
    assert sorted(taken) == list(range(30))
    assert {taken[int(d.data)] for d in held} == {2}
    await successor.stop()


@pytest.fixture(params=["tail", "queue"])
async def gathering(request: pytest.FixtureRequest, log: EventLog) -> AsyncIterator[Tail | WorkQueue]:
    """A reader that pauses for an hour, unless somebody hurries it."""
    await ensure_streams(log.nc)
    reader: Tail | WorkQueue
    if request.param == "tail":
        reader = log.tail((), gather_s=3600.0)
    else:
        config = api.ConsumerConfig(durable_name="q", ack_policy=api.AckPolicy.EXPLICIT)
        await log.nc.jsm().add_consumer(subjects.EVENTS_STREAM, config)
        reader = WorkQueue(log.nc, subjects.EVENTS_STREAM, "q", credit=1000, gather_s=3600.0)
        await reader.start()
    yield reader
    await reader.stop()


async def test_a_reader_in_no_hurry_takes_the_first_message_at_once_and_then_all_that_came(
    log: EventLog, gathering: Tail | WorkQueue
) -> None:
    async def publish(*texts: str) -> None:
        for text in texts:
            await log.append(Entry(subjects.run_in(KEY), text.encode()))

    async def take() -> list[str]:
        while True:
            if found := await gathering.batch(PATIENCE_S):
                return [item.data.decode() for item in found]

    assert await gathering.batch(0.1) == []  # it looked, and nothing was there
    first = asyncio.create_task(take())
    await asyncio.sleep(0.1)
    await publish("1")
    assert await asyncio.wait_for(first, PATIENCE_S) == ["1"]
    several = asyncio.create_task(take())
    await publish("2", "3", "4")
    await asyncio.sleep(0.2)
    assert not several.done()
    gathering.hurry()
    assert await asyncio.wait_for(several, PATIENCE_S) == ["2", "3", "4"]
    gathering.hurry()
    assert await gathering.batch(0.1) == []
    again = asyncio.create_task(take())
    await asyncio.sleep(0.1)
    await publish("5")
    assert await asyncio.wait_for(again, PATIENCE_S) == ["5"]


async def test_a_reader_in_no_hurry_that_is_behind_does_not_pause(log: EventLog, gathering: Tail | WorkQueue) -> None:
    for future in [await log.publish(Entry(subjects.run_in(KEY), str(i).encode())) for i in range(2500)]:
        await future
    found: list[int] = []
    while len(found) < 2500:
        batch = await asyncio.wait_for(gathering.batch(5.0), PATIENCE_S)
        found += [int(item.data) for item in batch]
        if isinstance(gathering, WorkQueue):
            for item in batch:
                await log.ack(item)
            gathering.release(len(batch))
    assert found == list(range(2500))


async def test_a_batch_that_holds_a_message_id_again_is_refused_whole(log: EventLog) -> None:
    await ensure_streams(log.nc)
    batch = [Entry(subjects.run_in(KEY), str(i).encode(), msg_id=f"b{i}") for i in range(20)]
    last = await log.append_batch(batch)
    with pytest.raises(RetryableError):
        await log.append_batch([Entry(subjects.run_in(KEY), b"new", msg_id="new"), batch[7]])
    assert await log.last_seq() == last.seq
    again = await log.append(batch[7])
    assert (again.duplicate, again.seq) == (True, last.seq - 12)


async def test_appends_of_a_group_share_batches_and_repeating_a_refused_one_writes_nothing_twice(log: EventLog) -> None:
    await ensure_streams(log.nc)
    batches: list[int] = []
    real = log.append_batch

    async def counted(entries: Any, timeout_s: float = 5.0) -> Any:
        batches.append(len(entries))
        return await real(entries, timeout_s)

    log.append_batch = counted  # type: ignore[method-assign]
    group = GroupCommit(log)
    entries = [Entry(subjects.run_in(KEY), str(i).encode(), msg_id=f"g{i}") for i in range(300)]
    acks = await asyncio.gather(*(group.append(entry) for entry in entries))
    stored = {s.seq: s.data for s in await log.read(subjects.run_in(KEY))}
    assert [stored[ack.seq] for ack in acks] == [entry.data for entry in entries]
    assert sum(batches) == 300 and len(batches) < 10
    # a few go out one by one, and are answered one by one
    assert [a.duplicate for a in await asyncio.gather(*(group.append(e) for e in entries[:3]))] == [True] * 3
    fresh = [Entry(subjects.run_in(KEY), b"x", msg_id=f"h{i}") for i in range(20)]
    refused = await asyncio.gather(*(group.append(e) for e in [*fresh, entries[0]]), return_exceptions=True)
    assert all(isinstance(error, RetryableError) for error in refused)
    repeated = await asyncio.gather(*(log.append(e) for e in [*fresh, entries[0]]))
    assert [ack.duplicate for ack in repeated] == [False] * 20 + [True]
    assert len(await log.read(subjects.run_in(KEY))) == 320


async def test_a_group_never_exceeds_what_the_server_takes(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    await ensure_streams(log.nc)
    monkeypatch.setattr(group_commit, "BATCH_BYTES_MAX", 200_000)
    group = GroupCommit(log)
    body = b"x" * 9_000
    entries = [Entry(subjects.run_in(KEY), body, msg_id=f"l{i}") for i in range(1100)]
    acks = await asyncio.gather(*(group.append(entry) for entry in entries))
    assert len({ack.seq for ack in acks}) == 1100


async def test_an_acknowledgement_that_does_not_come_fails_its_append_in_time(nats_server: Any) -> None:
    nc = await nats.connect(nats_server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    await ensure_streams(nc)
    log = EventLog(nc)
    await log.start()
    nats_server.kill()
    began = asyncio.get_running_loop().time()
    entry = Entry(subjects.run_in(KEY), b"x", msg_id="late")
    outcomes = await asyncio.gather(*(log.append(entry, 0.3) for _ in range(5)), return_exceptions=True)
    assert {getattr(error, "kind", "") for error in outcomes} == {"append_unknown"}
    assert asyncio.get_running_loop().time() - began < 4, "an append waits 5 s if nothing is said"
    nats_server.start()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(RetryableError):
                await log.append(entry, 1.0)
                break
    await nc.close()
