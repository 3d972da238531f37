"""Dead letters with a real scheduler, worker and gateway: poison stops nothing, each letter is decided by a door."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from agentflow.v1 import admin_pb2, admin_pb2_grpc
from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.lanes import fold as lane_fold
from agentflow_common.log import dead_letters
from agentflow_common.log.consumers import Delivery
from agentflow_common.log.event_log import Entry
from agentflow_gateway.operations import dead_letters as gateway_letters
from agentflow_sdk import (
    AsyncClient,
    Client,
    DeadLetter,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from tests.support.agentctl import run_agentctl
from tests.support.engine import EngineUnderTest, scheduling, working
from tests.support.gateway import GatewayUnderTest, running_gateway, stub
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration
TS = 1_763_700_000_000
ORG = "test"
SLEEPS = (
    "name: w\ndag:\n  nodes:\n"
    "    - {id: s, type: function, config: {function_name: t.sleep, inputs: {seconds: 600}}}\n"
    "    - {id: t, type: function, config: {function_name: t.add, inputs: {a: s.output, b: 1}}}\n"
    "  edges: [{from: s, to: t}]\n"
)
QUICK = "name: q\ndag:\n  nodes:\n    - {id: a, type: function, config: {function_name: t.add}}\n  edges: []\n"


class Place:
    """A gateway, an engine on its log, and clients of one org."""

    def __init__(self, gateway: GatewayUnderTest, engine: Any, stack: contextlib.AsyncExitStack) -> None:
        self.gateway = gateway
        self.engine = engine
        self.log = engine.log
        self._stack = stack

    async def client(self, *permissions: str, org: str = ORG) -> AsyncClient:
        key = await self.gateway.key_for(org, *permissions)
        return await self._stack.enter_async_context(self.gateway.client(key, timeout=PATIENCE_S))

    async def cli(self, key: str, *words: str) -> tuple[int, str, str]:
        return await run_agentctl(self.gateway.endpoint, key, *words)

    async def poison(self, key: subjects.EntityKey, data: bytes) -> int:
        """Straight into the run's facts, as no service would write it."""
        return (await self.log.append(Entry(subjects.run_in(key), data))).seq

    async def buried(self, client: AsyncClient, count: int) -> tuple[DeadLetter, ...]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                page = await client.admin.list_dead_letters(limit=500)
                if len(page.letters) >= count:
                    assert len(page.letters) == count, page.letters
                    return page.letters
                await asyncio.sleep(0.02)


@pytest.fixture
async def place(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[Place]:
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(running_gateway(nats_url, db_env))
        await stack.enter_async_context(working(nats_url))
        engine = EngineUnderTest(gateway.context.nc, gateway.context.log)
        yield Place(gateway, engine, stack)


def in_shard(shard: int) -> subjects.EntityKey:
    """A run that was never submitted."""
    while True:
        key = subjects.key_of(ORG, ids.new_run_id())
        if key.shard == shard:
            return key


async def test_no_poison_stops_a_shard_and_a_letter_repaired_by_hand_goes_on(place: Place) -> None:
    admin = await place.client("admin", "reveal", "operator")
    async with scheduling(place.gateway.context.settings.nats_url):
        live = await place.engine.submit(SLEEPS)
        await place.engine.until(live, ev.StepScheduled)
        other = in_shard(live.shard)
        at: dict[str, Any] = {"org": ORG, "run": other.name, "ts": TS}
        broken_seed = ev.RunSubmitted(
            **at, workflow="w", version=1, definition={}, seed=ev.Payload(value={"a": "no step"})
        )
        forged = ev.RunCompleted(org=ORG, run=live.name, ts=TS, seen=10**9)
        lost = {"type": "step.completed", "org": ORG, "run": live.name, "ts": TS, "step": "s", "attempt": "one"}
        bodies = [
            (live, b"\xff\xfe no JSON"),
            (other, ev.encode(broken_seed)),
            (live, b'{"type":"timer.fired","org":"test","run":"r","ts":1,"timer":{"shape":"wrong"}}'),
            (live, ev.encode(forged)),
            (live, json.dumps(lost).encode()),
        ]
        seqs = [await place.poison(key, body) for key, body in bodies]
        found = await place.buried(admin, 5)
        assert [letter.origin_sequence for letter in found] == seqs
        assert {letter.origin for letter in found} == {"scheduler"} and all(letter.replayable for letter in found)
        assert [letter.run_id for letter in found] == [key.name for key, _ in bodies]
        assert found[0].reason and found[0].size_bytes == len(bodies[0][1])
        beside = await place.engine.submit(QUICK)
        assert (await place.engine.finished(beside)).status == "completed"

        key = await place.gateway.key_for(ORG, "admin", "operator", "reveal")
        code, out, _ = await place.cli(key, "dead", "list", "--run", live.name, "-o", "json")
        assert code == 0 and len(json.loads(out)) == 4
        code, out, err = await place.cli(key, "dead", "replay", str(found[4].sequence))
        assert code == 0 and "replayed" in out, err
        (again,) = (await place.buried(admin, 5))[-1:]  # it can't be read any better: a new letter, counted
        assert (again.replays, again.run_id) == (1, live.name)
        repaired = json.dumps({**lost, "attempt": 1, "output": {"value": 41}, "worker": "by hand"})
        code, out, err = await place.cli(key, "dead", "replay", str(again.sequence), "--body", repaired)
        assert code == 0 and "replayed" in out, err
        done = await place.engine.finished(live)
        assert (done.status, done.output.value) == ("completed", {"t": 42})
        code, out, err = await place.cli(key, "dead", "purge", "--reason", found[0].reason)
        assert code == 0 and "would purge" in out and "--yes" in err
        await place.buried(admin, 4)
        code, out, err = await place.cli(key, "dead", "purge", "--all", "--yes")
        assert code == 0 and "4 purged" in err, err
        await place.buried(admin, 0)


async def test_no_nonsense_in_any_place_stops_a_lane_a_run_or_the_list(place: Place) -> None:
    admin = await place.client("admin", "operator", "read")
    text = SLEEPS.replace("id: s, type: function,", 'id: s, type: function, lane: "{{org}}-calls",')
    lane = lane_fold.key_of_lane(f"{ORG}-calls")
    asks: dict[str, Any] = {
        "type": "lane.requested",
        "org": lane.org,
        "run": lane.name,
        "ts": TS,
        "attempt": 1,
        "step": "s",
    }
    nobody = {"lane": f"{ORG}-calls", "holder_org": "a b", "holder_run": "r.>"}
    elsewhere = {"lane": "another", "holder_org": ORG, "holder_run": "run_1"}
    nul = ev.RunStarted(org=ORG, run=ids.new_run_id(), ts=TS, workflow="nul \x00", version=1, steps=1)
    async with scheduling(place.gateway.context.settings.nats_url):
        live = await place.engine.submit(text)
        await place.engine.until(live, ev.StepScheduled)
        for entity in (live, lane):
            for body in (b'{"type":"signal.received","name":"\xed\xa0\x80"}', b"[" * 100_000):
                await place.poison(entity, body)
                await place.log.append(Entry(subjects.out_step(entity), body))  # where the fence of decisions looks
        for body in (
            json.dumps({**asks, **nobody}),
            json.dumps({**asks, **elsewhere}),
            json.dumps({**asks, "ts": 2**70}),
        ):
            await place.poison(lane, body.encode())
        await place.log.append(Entry(subjects.out_run(subjects.key_of(ORG, nul.run)), ev.encode(nul)))
        for at, more in (
            ({}, {"parent": ev.ParentRef("no place.>", "s", 1)}),
            ({"org": "b c"}, {}),
            ({"run": "run_2"}, {}),
        ):
            own = in_shard(live.shard)
            event = ev.RunSubmitted(
                **{"org": ORG, "run": own.name, "ts": TS, **at}, workflow="w", version=1, definition={}, **more
            )
            await place.poison(own, ev.encode(event))  # whom nobody could tell how it ended
        found = await place.buried(admin, 4 + 3 + 4 + 1 + 3)  # the gateway follows the decisions
        assert {letter.origin for letter in found} == {"scheduler", "gateway"}
        second = await place.engine.submit(text)  # waits for the slot
        done = ev.StepCompleted(
            org=ORG, run=live.name, ts=TS, step="s", attempt=1, output=ev.Payload(41), worker="by hand"
        )
        await place.poison(live, ev.encode(done))
        assert (await place.engine.finished(live)).status == "completed"
        await place.engine.until(second, ev.StepScheduled)
    async with scheduling(place.gateway.context.settings.nats_url):  # reads it all again
        done = msgspec.structs.replace(done, run=second.name)
        await place.poison(second, ev.encode(done))
        assert (await place.engine.finished(second)).status == "completed"

    async def listed() -> bool:
        return {second.name, live.name} <= {run.run_id for run in (await admin.workflows.list(status="completed")).runs}

    await until(listed)


async def test_what_came_while_no_scheduler_was_there_is_buried_by_the_next(place: Place) -> None:
    admin = await place.client("admin")
    async with scheduling(place.gateway.context.settings.nats_url):
        live = await place.engine.submit(SLEEPS)
        await place.engine.until(live, ev.StepScheduled)
        await place.poison(live, b"first")
        await place.buried(admin, 1)
    await place.poison(live, b"second")
    await place.log.append(Entry(subjects.run_in(live), ev.encode(
        ev.StepCompleted(org=ORG, run=live.name, ts=TS, step="s", attempt=1, output=ev.Payload(value=1)))))  # fmt: skip
    async with scheduling(place.gateway.context.settings.nats_url):
        assert (await place.engine.finished(live)).status == "completed"
        found = await place.buried(admin, 2)  # the first is not buried twice
        assert [letter.replays for letter in found] == [0, 0]


async def test_each_replay_is_told_once_and_its_number_is_bounded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = await place.client("admin")
    async with scheduling(place.gateway.context.settings.nats_url):
        live = await place.engine.submit(SLEEPS)
        await place.engine.until(live, ev.StepScheduled)
        await place.poison(live, b"never readable")
        (letter,) = await place.buried(admin, 1)

        async def cut_short(*_: Any) -> None:
            raise RuntimeError("killed between append and removal")

        with monkeypatch.context() as patch:
            patch.setattr(gateway_letters, "_remove", cut_short)
            with pytest.raises(Exception, match="unexpected"):
                await admin.admin.replay_dead_letters([letter.sequence])
        first, second = await place.buried(admin, 2)
        assert (first.sequence, second.replays) == (letter.sequence, 1)
        (outcome,) = (await admin.admin.replay_dead_letters([letter.sequence])).outcomes
        assert (outcome.outcome, outcome.sequence) == ("already_replayed", second.origin_sequence)
        for replays in range(2, dead_letters.REPLAYS_MAX + 1):
            (current,) = await place.buried(admin, 1)
            assert (await admin.admin.replay_dead_letters(all=True)).count("replayed") == 1
            await until(lambda current=current: _changed(admin, current))
            (letter,) = await place.buried(admin, 1)
            assert letter.replays == replays
        dry = await admin.admin.replay_dead_letters(all=True, dry_run=True)
        refused = await admin.admin.replay_dead_letters(all=True)
        for made in (dry, refused):
            assert made.count("refused") == 1 and "repair" in made.outcomes[0].problem
        told = [s for s in await place.log.read(subjects.run_in(live)) if s.data == b"never readable"]
        assert len(told) == 1 + dead_letters.REPLAYS_MAX


async def _changed(admin: AsyncClient, letter: DeadLetter) -> bool:
    page = await admin.admin.list_dead_letters()
    return bool(page.letters) and page.letters[0].sequence != letter.sequence


async def test_letters_are_seen_by_their_org_alone_and_bodies_need_a_reason(place: Place) -> None:
    admin, reader, stranger = (
        await place.client("admin"), await place.client("read", "write"), await place.client("admin", org="other")
    )  # fmt: skip
    operator = await place.client("admin", "operator", "reveal", org="platform")
    log = place.log
    run = subjects.key_of(ORG, ids.new_run_id())
    nobodys = Delivery("af.timer.1.x.y", b"a timer", 900, TS, 1, 0, "", None)
    await log.bury("cost", Delivery(subjects.run_in(run), b"mail jane", 901, TS, 1, 0, "", None), "DecodeError")
    await log.bury("cost", Delivery(subjects.run_in(run), b"mail jane", 901, TS, 1, 0, "", None), "DecodeError")
    await log.bury("scheduler", Delivery(subjects.run_in(run), b"mail jane", 901, TS, 1, 0, "", None), "DecodeError")
    await log.bury("worker", Delivery(subjects.out_task(run, "default"), b"{}", 902, TS, 1, 0, "", None), "NotATask")
    await log.bury("scheduler", nobodys, "DecodeError")
    mine = (await admin.admin.list_dead_letters()).letters
    assert [(letter.origin, letter.org_id) for letter in mine] == [("cost", ORG), ("scheduler", ORG), ("worker", ORG)]
    assert [x.subject for x in (await operator.admin.list_dead_letters()).letters] == ["af.timer.1.x.y"]
    assert not (await stranger.admin.list_dead_letters()).letters
    paged = await admin.admin.list_dead_letters(limit=2)
    rest = await admin.admin.list_dead_letters(limit=2, page_token=paged.next_page_token)
    assert (*paged.letters, *rest.letters) == mine and not rest.next_page_token
    auth = place.gateway.auth(await place.gateway.key_for(ORG, "admin"))
    doors = stub(admin_pb2_grpc.AdminServiceStub, place.gateway.channel)
    for after, found in ((mine[0].sequence, 2), (2**63, 0), (2**64 - 1, 0)):
        request = admin_pb2.ListDeadLettersRequest(filter=admin_pb2.DeadLetterFilter(after_sequence=after))
        assert len((await doors.ListDeadLetters(request, metadata=auth)).letters) == found
    assert len((await admin.admin.list_dead_letters(origin="worker", run_id=run.name)).letters) == 1
    seq = mine[0].sequence
    for client, error in ((stranger, NotFoundError), (reader, PermissionDeniedError)):
        with pytest.raises(error):
            await client.admin.get_dead_letter(seq)
    with pytest.raises(NotFoundError):
        await stranger.admin.purge_dead_letters([seq])
    assert (await admin.admin.get_dead_letter(seq)).body is None
    with pytest.raises(PermissionDeniedError, match="reveal"):
        await admin.admin.get_dead_letter(seq, reveal=True, reason="why not")
    revealing = await place.client("admin", "reveal")
    with pytest.raises(InvalidArgumentError, match="reason"):
        await revealing.admin.get_dead_letter(seq, reveal=True)
    asked = len(place.gateway.neighbours.asked)
    shown = await revealing.admin.get_dead_letter(seq, reveal=True, reason="case 7")
    assert (shown.body, shown.truncated) == ("mail jane", False)
    (restore,) = place.gateway.neighbours.asked[asked:]
    assert (restore.org, restore.run, restore.reason) == (ORG, run.name, f"dead letter {seq}: case 7")

    with pytest.raises(InvalidArgumentError, match="say which dead letters to"):
        await admin.admin.purge_dead_letters()
    made = await admin.admin.replay_dead_letters(all=True)
    problems = [outcome.problem for outcome in made.outcomes]
    assert made.count("refused") == 3 and "is not in the log" in problems[0] and "not a fact" in problems[2]
    with pytest.raises(PermissionDeniedError, match="operator"):
        await admin.admin.replay_dead_letters([seq], repaired_body="{}")
    elsewhere = ev.StepStarted(org="other", run=run.name, ts=1, step="a", attempt=1, worker="w")
    deciding = ev.RunCompleted(org=ORG, run=run.name, ts=1)
    both = await place.client("admin", "operator")
    for body in ("no JSON", ev.encode(elsewhere).decode(), ev.encode(deciding).decode()):
        with pytest.raises(InvalidArgumentError):
            await both.admin.replay_dead_letters([seq], repaired_body=body)
    with pytest.raises(PermissionDeniedError, match="operator"):
        await admin.admin.set_retention(0)

    def sync() -> int:
        with Client(place.gateway.endpoint, key) as client:
            assert client.admin.purge_dead_letters([seq], dry_run=True).count("would_purge") == 1
            assert client.admin.purge_dead_letters([seq]).count("purged") == 1
            return len(client.admin.list_dead_letters().letters)

    key = await place.gateway.key_for(ORG, "admin")
    assert await asyncio.to_thread(sync) == 2
    audit = await log.read(subjects.audit(ORG, ""), stream=subjects.AUDIT_STREAM)
    actions = [event.action for s in audit if isinstance(event := ev.decode(s.data), ev.AuditRecorded)]
    assert actions == ["dead_purge"]
