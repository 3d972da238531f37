"""Keyed lanes with a real scheduler and worker: never more than the limit, whatever is set, cancelled or refused."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.lanes.controls import control_key
from agentflow_common.lanes.fold import LaneState, key_of_lane
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.runs.state import RunStatus
from agentflow_common.runtime.service import running
from agentflow_scheduler.app import app as scheduler_app
from agentflow_scheduler.engine.log_trim import Cut, Trimmer
from agentflow_scheduler.lanes import machine
from agentflow_scheduler.replay.state_hash import state_hash
from agentflow_scheduler.shards.snapshots import load_snapshot
from tests.support.engine import EngineUnderTest, loaded, scheduler_settings, scheduling, working
from tests.support.lanes import folded
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration

STEP = (
    "{id: s, type: function, lane: '{{org}}-{{customer}}', %s config: {function_name: t.sleep, inputs: {seconds: %s}}}"
)


def keyed(seconds: float, more: str = "lane_limit: 2,") -> str:
    node = STEP % (more, seconds)
    return f"name: w\ninputs: {{customer: {{type: any}}}}\ndag:\n  nodes:\n    - {node}\n"


class Lanes:
    """What the log of the engine says of lanes."""

    def __init__(self, engine: Any, heard: Any) -> None:
        self.engine = engine
        self.heard = heard

    async def events(self, lane: str) -> list[tuple[int, ev.Event]]:
        found: list[tuple[int, ev.Event]] = await self.engine.events(key_of_lane(lane))
        return found

    async def state(self, lane: str) -> LaneState:
        return folded(key_of_lane(lane), await self.events(lane))

    async def until(self, lane: str, holds: Any, timeout_s: float = PATIENCE_S) -> LaneState:
        async with asyncio.timeout(timeout_s):
            while not holds(state := await self.state(lane)):
                await asyncio.sleep(0.02)
        return state

    async def most(self, lane: str) -> int:
        """The most slots that were ever held at a time."""
        events, key = await self.events(lane), key_of_lane(lane)
        return max((len(folded(key, events[:count]).holders) for count in range(len(events) + 1)), default=0)

    async def set(self, name: str, **setting: Any) -> None:
        bucket = await self.engine.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
        await bucket.put(control_key(name), msgspec.json.encode(setting))
        await self.heard(control_key(name))


@pytest.fixture
def lanes(heard: Any, engine: Any) -> Lanes:
    return Lanes(engine, heard)


async def most_at_once(engine: Any, runs: list[subjects.EntityKey]) -> int:
    """The most steps that ran at a time, as the workers' own times tell."""
    moments: list[tuple[int, int]] = []
    for run in runs:
        done = [event for _, event in await engine.events(run) if isinstance(event, ev.StepCompleted)]
        assert len(done) == 1
        moments += [(done[0].started_at, 1), (done[0].ts, -1)]
    return max(itertools.accumulate(change for _, change in sorted(moments)))


async def test_each_key_runs_as_many_as_its_limit(engine: Any, lanes: Lanes) -> None:
    text = keyed(0.05)
    runs = {c: [await engine.submit(text, {"customer": c}) for _ in range(8)] for c in ("a", "b")}
    for of_one in runs.values():
        for run in of_one:
            assert (await engine.finished(run)).status is RunStatus.COMPLETED
        assert await most_at_once(engine, of_one) <= 2
    state = await lanes.until("test-a", lambda state: state.idle)
    assert (state.grants, state.lane, state.limit) == (8, "test-a", 2)
    kinds = [ev.event_type(event) for _, event in await engine.events(runs["a"][0])]
    assert kinds[:6] == [
        "run.submitted", "run.started", "step.queued", "slot.granted", "step.scheduled", "step.completed",
    ]  # fmt: skip


async def test_a_limit_that_is_changed_counts_for_the_next_grants(engine: Any, lanes: Lanes) -> None:
    await lanes.set("test-*", limit=1)
    gated = keyed(0).replace("t.sleep, inputs: {seconds: 0}", "t.gate, inputs: {name: '{{customer}}'}")
    quick = [await engine.submit(keyed(0.05), {"customer": "live"}) for _ in range(3)]
    await lanes.until("test-live", lambda state: state.idle and state.grants == 3)
    assert await lanes.most("test-live") == 1
    runs = [await engine.submit(gated, {"customer": "live"}) for _ in range(9)]
    await lanes.until("test-live", lambda state: len(state.holders) == 1 and len(state.queue) == 8)
    await lanes.set("test-live", limit=5)
    await lanes.until("test-live", lambda state: len(state.holders) == 5)
    await lanes.set("test-live", limit=5, paused=True)
    await lanes.until("test-live", lambda state: state.paused)
    loaded().GATES["live"].set()
    await lanes.until("test-live", lambda state: not state.holders)
    assert len((await lanes.state("test-live")).queue) == 4
    await lanes.set("test-live", limit=2)
    for run in [*quick, *runs]:
        assert (await engine.finished(run)).status is RunStatus.COMPLETED
    state = await lanes.until("test-live", lambda state: state.idle)
    assert (state.limit, state.grants, state.configured_by) == (2, 12, "")
    assert await lanes.most("test-live") == 5


async def test_the_higher_priority_is_served_first(engine: Any, lanes: Lanes) -> None:
    await lanes.set("test-p", paused=True, limit=1)
    runs = [await engine.submit(keyed(0.01), {"customer": "p"}, priority=p) for p in (0, -5, 7, 0, 7)]
    await lanes.until("test-p", lambda state: len(state.queue) == len(runs))
    await lanes.set("test-p", limit=1)
    for run in runs:
        await engine.finished(run)
    granted = [e.holder_run for _, e in await lanes.events("test-p") if isinstance(e, ev.LaneGranted)]
    assert granted == [runs[index].name for index in (2, 4, 0, 3, 1)]


async def test_a_rate_spreads_the_grants(engine: Any, lanes: Lanes) -> None:
    text = keyed(0.0, "lane_limit: 100, lane_rate: 20/s,")
    runs = [await engine.submit(text, {"customer": "r"}) for _ in range(30)]
    for run in runs:
        await engine.finished(run)
    times = [e.ts for _, e in await lanes.events("test-r") if isinstance(e, ev.LaneGranted)]
    assert len(times) == 30
    assert times[-1] - times[0] > 900, "30 at 20 a second, the first five or six at once"
    for first, last in itertools.combinations(range(30), 2):
        assert last - first + 1 <= 1 + 20 * ((times[last] - times[first]) / 1000 + 0.252)


async def test_who_is_cancelled_gives_back_its_slot_or_its_place(engine: Any, lanes: Lanes) -> None:
    text = keyed(60, "lane_limit: 1,")
    first, second = [await engine.submit(text, {"customer": "c"}) for _ in range(2)]
    state = await lanes.until("test-c", lambda state: bool(state.holders and state.queue))
    holder = next(iter(state.holders.values())).run
    waiting, running = (first, second) if holder == second.name else (second, first)
    for run in (waiting, running):
        cancel = ev.RunCancelRequested(org=run.org, run=run.name, ts=1, reason="enough")
        await engine.log.append(Entry(subjects.run_in(run), ev.encode(cancel)))
        assert (await engine.finished(run)).status is RunStatus.CANCELLED
    await lanes.until("test-c", lambda state: state.idle and state.grants == 1)


@pytest.mark.parametrize("whole", [False, True], ids=["run", "workflow"])
async def test_what_is_paused_leaves_its_slot_to_others(engine: Any, lanes: Lanes, whole: bool) -> None:
    lane = f"test-paused{whole}"
    await lanes.set(lane, paused=True, limit=1)
    inputs = {"customer": f"paused{whole}"}
    held = await engine.submit(keyed(0.0).replace("name: w\n", "name: held\n"), inputs, priority=5)
    await lanes.until(lane, lambda state: len(state.queue) == 1)
    bucket = await engine.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
    if whole:
        await bucket.put("workflow.test.held", b'{"paused": true}')
    else:
        pause = ev.RunPauseRequested(org=held.org, run=held.name, ts=1)
        await engine.log.append(Entry(subjects.run_in(held), ev.encode(pause)))
        await engine.until(held, ev.RunPaused)
    await lanes.set(lane, limit=1)  # a scheduler hears of controls in their order
    others = [await engine.submit(keyed(0.0), inputs) for _ in range(3)]
    for run in others:
        assert (await engine.finished(run)).status is RunStatus.COMPLETED
    state = await lanes.until(lane, lambda state: state.idle)
    assert state.grants == 4, "it had its slot and gave it back"
    if whole:
        await bucket.put("workflow.test.held", b'{"paused": false}')
    else:
        resume = ev.RunResumeRequested(org=held.org, run=held.name, ts=1)
        await engine.log.append(Entry(subjects.run_in(held), ev.encode(resume)))
    assert (await engine.finished(held)).status is RunStatus.COMPLETED
    assert (await lanes.until(lane, lambda state: state.idle)).grants == 5
    queued = [e.lane for _, e in await engine.events(held) if isinstance(e, ev.StepQueued)]
    assert queued == [lane, "", lane]


async def test_a_full_pool_keeps_no_slot_of_a_workflow_that_is_paused(nats_url: str, log: EventLog, heard: Any) -> None:
    """No worker is there: the pool is full with one step, and nobody's turn comes."""
    async with scheduling(nats_url, window_steps=1):
        engine = EngineUnderTest(log.nc, log)
        lanes = Lanes(engine, heard)
        plain = keyed(0.0).replace("lane: '{{org}}-{{customer}}', lane_limit: 2,", "")
        await engine.until(await engine.submit(plain, {"customer": "x"}), ev.StepScheduled)
        text = keyed(0.0, "").replace("name: w\n", "name: held\n")
        held = await engine.submit(text, {"customer": "x"})
        await engine.until(held, ev.SlotGranted)
        other = await engine.submit(keyed(0.0, ""), {"customer": "x"})
        await lanes.until("test-x", lambda state: len(state.queue) == 1)
        bucket = await engine.nc.jetstream().key_value(subjects.CONTROLS_BUCKET)
        await bucket.put("workflow.test.held", b'{"paused": true}')
        state = await lanes.until("test-x", lambda state: not state.queue)
        assert {slot.run for slot in state.holders.values()} == {other.name}


async def test_a_full_lane_fails_the_attempt_with_the_reason(
    engine: Any, lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "QUEUE_MAX", 2)
    monkeypatch.setattr(machine, "REFUSED_RETRY_MS", 0)
    await lanes.set("test-full", paused=True)
    text = keyed(0.0, "lane_limit: 1, policy: {retry: {max_attempts: 1}},")
    runs = [await engine.submit(text, {"customer": "full"}) for _ in range(2)]
    await lanes.until("test-full", lambda state: len(state.queue) == 2)
    refused = await engine.finished(await engine.submit(text, {"customer": "full"}))
    assert (refused.status, refused.error.type) == (RunStatus.FAILED, "lane_full")
    assert "test-full" in refused.error.message
    await lanes.set("test-full")
    for run in runs:
        assert (await engine.finished(run)).status is RunStatus.COMPLETED


async def test_a_key_that_is_no_text_is_an_error_of_the_step(engine: Any) -> None:
    text = keyed(0.0).replace("'{{org}}-{{customer}}'", "'{{customer}}'")
    state = await engine.finished(await engine.submit(text, {"customer": {"not": "a text"}}))
    assert (state.status, state.error.type) == (RunStatus.FAILED, "undecidable")
    assert "lane" in state.error.message


async def test_the_log_before_a_checkpoint_goes_once_all_have_read_it(
    engine: Any, lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CHECKPOINT_EVENTS", 20)
    key = key_of_lane("test-t")
    reader = await engine.nc.jetstream().pull_subscribe(subjects.ALL_EVENTS, durable="AF_TEST_reader")
    await run_many(engine, 30, "t")
    await lanes.until("test-t", lambda state: state.idle and state.grants == 30)
    kept = await lanes.events("test-t")
    assert any(isinstance(event, ev.LaneCheckpointed) for _, event in kept)
    trimmer = Trimmer(engine.log)
    newest, checkpoint = next((seq, e) for seq, e in reversed(kept) if isinstance(e, ev.LaneCheckpointed))
    trimmer.offer(key, Cut(checkpoint.seen, newest - 1, newest))
    whole = await lanes.state("test-t")
    await trimmer.sweep()
    assert (await lanes.events("test-t"))[: len(kept)] == kept, "the reader has not got so far"
    while (info := await reader.consumer_info()).num_pending or info.num_ack_pending:
        for msg in await reader.fetch(500, timeout=5):
            await msg.ack_sync()
    await trimmer.sweep()
    left = await lanes.events("test-t")
    assert len(left) < len(kept)
    assert all(seq >= newest if isinstance(e, ev.Decision) else seq > checkpoint.seen for seq, e in left)
    assert state_hash(await lanes.state("test-t")) == state_hash(whole)
    await run_many(engine, 10, "t")
    assert (await lanes.until("test-t", lambda state: state.idle)).grants == 40


async def run_many(engine: Any, count: int, customer: str) -> None:
    for run in [await engine.submit(keyed(0.0), {"customer": customer}) for _ in range(count)]:
        assert (await engine.finished(run)).status is RunStatus.COMPLETED


async def test_a_lane_that_nobody_uses_leaves_memory_and_comes_back(nats_url: str, log: EventLog, heard: Any) -> None:
    """With a snapshot every 100 decisions: the second one without a word to it holds the lane no more."""
    async with contextlib.AsyncExitStack() as stack:
        settings = scheduler_settings(nats_url, snapshot_every=100)
        await stack.enter_async_context(running("scheduler", settings, scheduler_app))
        await stack.enter_async_context(working(nats_url))
        engine = EngineUnderTest(log.nc, log)
        lanes = Lanes(engine, heard)
        store = await log.nc.jetstream().object_store(subjects.SNAPSHOT_BUCKET)
        first = key_of_lane("test-first")
        await run_many(engine, 3, "first")
        async with asyncio.timeout(2 * PATIENCE_S):
            while True:
                await run_many(engine, 20, "second")
                snapshot = await load_snapshot(store, first.shard)
                newest = (await lanes.events("test-first"))[-1][0]
                if snapshot.seq > newest and first.name not in {state.run for state in snapshot.lanes}:
                    break
        await run_many(engine, 3, "first")
        state = await lanes.until("test-first", lambda state: state.idle and state.grants == 6)
        assert state.limit == 2
