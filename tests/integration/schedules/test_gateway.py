"""Schedules through the gateway's doors, with a real scheduler, NATS and PostgreSQL; nobody runs the steps."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import grpc
import pytest

from agentflow.v1 import schedule_pb2 as pb
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.runtime.service import running
from agentflow_gateway.schedules import commands
from agentflow_scheduler.app import app as scheduler_app
from agentflow_scheduler.settings import SchedulerSettings
from tests.support.gateway import EMAIL, details
from tests.support.gateway_schedules import FAR, SchedulesUnderTest, ms, running_schedules
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.integration


async def test_a_schedule_from_its_making_to_its_end(schedules: SchedulesUnderTest) -> None:
    made = await schedules.create(cron=FAR, time_zone="Europe/Berlin", tags={"team": "data"})
    assert made.created and list(made.schedule.next_times) == [ms("2089-12-31T23:00")]
    again = await schedules.create(cron=FAR, time_zone="Europe/Berlin", tags={"team": "data"})
    assert not again.created
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await schedules.create(cron="@hourly")
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS

    spec = {"name": "nightly", "workflow": "report", "inputs": {"text": "x"}, "cron": "@hourly"}
    source = pb.ScheduleSource(text=json.dumps(spec))
    changed = await schedules.call("UpdateSchedule", pb.UpdateScheduleRequest(source=source))
    assert changed.changed and changed.schedule.spec["cron"] == ["@hourly"]
    assert not (await schedules.call("UpdateSchedule", pb.UpdateScheduleRequest(source=source))).changed

    assert (await schedules.call("PauseSchedule", pb.PauseScheduleRequest(name="nightly", reason="release"))).changed
    paused = await schedules.get()
    assert paused.status == pb.SCHEDULE_STATUS_PAUSED and paused.paused_reason == "release" and not paused.next_times
    listed = await schedules.call("ListSchedules", pb.ListSchedulesRequest(status=pb.SCHEDULE_STATUS_PAUSED))
    assert [s.name for s in listed.schedules] == ["nightly"]
    assert (await schedules.call("ResumeSchedule", pb.ResumeScheduleRequest(name="nightly"))).changed
    assert not (await schedules.call("ResumeSchedule", pb.ResumeScheduleRequest(name="nightly"))).changed

    await schedules.call("DeleteSchedule", pb.DeleteScheduleRequest(name="nightly"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await schedules.get()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    await schedules.until(lambda state: state.over)
    assert not (await schedules.call("ListSchedules", pb.ListSchedulesRequest())).schedules
    assert (await schedules.create(cron="@hourly")).created
    await schedules.until(lambda state: state.listed == "active" and not state.deleted)


async def test_every_second_fires_in_time_and_never_two_runs_at_a_time(schedules: SchedulesUnderTest) -> None:
    began = time.time() * 1000
    await schedules.create(cron="@every 1s", inputs={"text": "{{schedule.time}} {{schedule.number}}"})
    state = await schedules.until(lambda state: state.active and state.active[1].started)
    first = state.active[1]
    submitted = await schedules.submitted(first.child)
    assert submitted.parent == ev.ParentRef(run=state.run, step="", attempt=1)
    assert submitted.origin == ev.OriginRef(run=state.run, kind="schedule")
    assert submitted.inputs.value["text"].endswith(" 1") and submitted.tags == {"schedule": "nightly"}
    assert first.at == state.created_at + 1000
    assert first.at > began and state.recent[0].fired_at >= first.at
    state = await schedules.until(lambda state: state.skipped.get("overlap", 0) >= 2)
    assert list(state.active) == [1]
    await schedules.cancel_run(first.child)
    state = await schedules.until(lambda state: state.number == 2)
    assert state.recent[0].status == "cancelled"
    shown = await schedules.get()
    assert shown.fired == 2 and shown.skipped["overlap"] >= 2
    assert [fire.status for fire in shown.recent][-1] == "cancelled"


async def test_under_cancel_each_run_makes_room_for_the_next(schedules: SchedulesUnderTest) -> None:
    await schedules.create(cron="@every 1s", overlap="cancel")
    state = await schedules.until(lambda state: state.number >= 3)
    ended = [fire.status for fire in state.recent[:-1]]
    assert set(ended) == {"cancelled"} and len(state.active) <= 1
    stored = await schedules.gateway.context.log.read(subjects.run_all(commands.key_of("default", "nightly")))
    events = [ev.decode(item.data) for item in stored]
    told = [event.child for event in events if isinstance(event, ev.ScheduleCancelling)]
    assert [fire.child for fire in state.recent[:2]] == told[:2]


async def test_what_is_buffered_waits_for_its_turn_and_a_pause_stops_the_times(schedules: SchedulesUnderTest) -> None:
    await schedules.create(cron="@every 1s", overlap="buffer_all", buffer_max=2)
    state = await schedules.until(lambda state: len(state.buffer) == 2 and state.skipped.get("buffer_full", 0) >= 1)
    assert [waiting.at for waiting in state.buffer] == [state.created_at + 2000, state.created_at + 3000]
    await schedules.call("PauseSchedule", pb.PauseScheduleRequest(name="nightly"))
    decided = (await schedules.until(lambda state: state.listed == "paused")).position
    for number in (1, 2, 3):  # what waited goes on to start
        state = await schedules.until(lambda s, n=number: n in s.active and s.active[n].started)
        assert list(state.active) == [number]
        await schedules.cancel_run(state.active[number].child)
    state = await schedules.until(lambda state: not state.active and not state.buffer)
    assert (state.number, state.position) == (3, decided)
    assert [fire.at - state.created_at for fire in state.recent] == [1000, 2000, 3000]


async def test_a_run_that_can_not_be_submitted_is_told_and_the_schedule_goes_on(schedules: SchedulesUnderTest) -> None:
    await schedules.create(cron="@every 1s", inputs={"text": "{{schedule.number}}"})  # a number where text is wanted
    state = await schedules.until(lambda state: len([f for f in state.recent if f.status == "refused"]) >= 2)
    error = state.recent[0].error
    assert error is not None and "must be of type string" in error.message
    assert not state.recent[0].child.startswith("sched_")


async def test_a_backfill_fires_for_each_time_one_by_one(schedules: SchedulesUnderTest) -> None:
    await schedules.create(cron="30 2 * * *", time_zone="Europe/Berlin", inputs={"text": "{{schedule.time}}"})
    asked = {"name": "nightly", "start": ms("2026-03-28T02:00"), "end": ms("2026-03-30T02:00"), "backfill_id": "b1"}
    dry = await schedules.call("BackfillSchedule", pb.BackfillScheduleRequest(**asked, dry_run=True))
    assert list(dry.times) == [ms("2026-03-29T01:00"), ms("2026-03-30T00:30")]
    for known in (False, True):
        again = await schedules.call("BackfillSchedule", pb.BackfillScheduleRequest(**asked))
        assert (again.count, again.known) == (2, known)
    texts = []
    for number in (1, 2):
        state = await schedules.until(lambda s, n=number: n in s.active and s.active[n].started)
        assert list(state.active) == [number]
        child = state.active[number].child
        texts.append((await schedules.submitted(child)).inputs.value["text"])
        await schedules.cancel_run(child)
    state = await schedules.until(lambda state: not state.backfills and not state.active)
    assert state.number == 2
    assert texts == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]


async def test_a_trigger_by_hand_overrides_the_policy_and_counts_once(schedules: SchedulesUnderTest) -> None:
    await schedules.create(cron=FAR, inputs={"text": "{{trigger.payload.who}}"})
    request = pb.TriggerScheduleRequest(name="nightly", trigger_id="t1")
    request.payload.struct_value.update({"who": EMAIL})
    first = await schedules.trigger(request)
    submitted = await schedules.submitted(first.run_id)
    assert submitted.run == first.run_id
    assert EMAIL not in submitted.inputs.value["text"]
    assert await schedules.trigger(request) == first
    request.trigger_id = "t2"
    await schedules.trigger(request)
    await schedules.until(lambda state: state.skipped.get("overlap") == 1)
    request.trigger_id, request.overlap = "t3", "allow"
    third = await schedules.trigger(request)
    await schedules.submitted(third.run_id)
    state = await schedules.until(lambda state: len(state.active) == 2)
    assert {active.child for active in state.active.values()} == {first.run_id, third.run_id}
    for stored in await schedules.gateway.context.log.read(subjects.ALL_EVENTS):
        assert EMAIL.encode() not in stored.data


async def test_a_calendar_that_changes_reaches_its_schedules(schedules: SchedulesUnderTest) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await schedules.create(calendars=["bank"])
    assert details(caught.value)[1][0][0] == "calendars"
    await schedules.call("SetCalendar", pb.SetCalendarRequest(name="bank", dates=["2090-01-01"]))
    await schedules.create(calendars=["bank"], cron="0 12 * * *", start_at="2090-01-01", time_zone="UTC")
    assert (await schedules.get()).next_times[0] == ms("2090-01-02T12:00")
    told = await schedules.call("SetCalendar", pb.SetCalendarRequest(name="bank", dates=["2090-01-02", "01-03"]))
    assert told.schedules == 1
    assert list((await schedules.get()).next_times)[:2] == [ms("2090-01-01T12:00"), ms("2090-01-04T12:00")]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await schedules.call("DeleteCalendar", pb.DeleteCalendarRequest(name="bank"))
    assert details(caught.value)[0] == "calendar_in_use"
    shown = (await schedules.call("ListCalendars", pb.ListCalendarsRequest())).calendars
    assert [(c.name, list(c.dates)) for c in shown] == [("bank", ["01-03", "2090-01-02"])]


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"cron": "61 * * * *"}, "cron"),
        ({"workflow": "nobody"}, ""),
        ({"inputs": {"txt": "x"}}, "inputs.txt"),
        ({"inputs": {"text": 3}}, "inputs.text"),
        ({"cron": "@at 2001-01-01"}, "cron"),
        ({"inputs": {"text": {"$blob": {}}}}, "inputs.text"),
    ],
)
async def test_bad_schedules_are_refused_and_nothing_is_written(
    schedules: SchedulesUnderTest, spec: dict[str, Any], place: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await schedules.create(**spec)
    places = [where for where, _ in details(caught.value)[1]]
    assert any(where.endswith(place) for where in places) if place else caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert await schedules.gateway.context.log.read(subjects.run_all(commands.key_of("default", "nightly"))) == []


async def test_the_list_is_a_fold_that_can_be_dropped(nats_url: str, db_env: dict[str, str]) -> None:
    async with running("scheduler", SchedulerSettings(nats_url=nats_url), scheduler_app):
        async with running_schedules(nats_url, db_env) as schedules:
            for number in range(3):
                await schedules.create(name=f"s{number}", cron=FAR)
            await schedules.call("DeleteSchedule", pb.DeleteScheduleRequest(name="s1"))
            log = schedules.gateway.context.log

            async def listed() -> bool:
                """All three are told of, and the gateway has put down what was told: it won't do so again."""
                stored = [await log.last(subjects.out_schedule(commands.key_of("default", f"s{n}"))) for n in range(3)]
                told = [ev.decode(item.data) for item in stored if item is not None]
                statuses = [event.status for event in told if isinstance(event, ev.ScheduleListed)]
                info = await log.nc.jsm().consumer_info(
                    subjects.EVENTS_STREAM, subjects.durable("gateway", "schedules")
                )
                return statuses == ["active", "deleted", "active"] and not (info.num_pending or info.num_ack_pending)

            await until(listed)
            pool = schedules.gateway.store.pool
            await pool.execute("DELETE FROM schedules")
        async with running_schedules(nats_url, db_env) as schedules:
            async with asyncio.timeout(PATIENCE_S):
                while len((await schedules.call("ListSchedules", pb.ListSchedulesRequest())).schedules) < 2:
                    await asyncio.sleep(0.05)
            page = await schedules.call("ListSchedules", pb.ListSchedulesRequest(page_size=1))
            assert [s.name for s in page.schedules] == ["s0"]
            rest = await schedules.call("ListSchedules", pb.ListSchedulesRequest(page_token=page.next_page_token))
            assert [s.name for s in rest.schedules] == ["s2"] and not rest.next_page_token


async def test_a_preview_tells_the_times_and_writes_nothing(schedules: SchedulesUnderTest) -> None:
    spec = {"name": "x", "workflow": "report", "cron": "0 0 29 2 *"}
    request = pb.PreviewScheduleRequest(source=pb.ScheduleSource(text=json.dumps(spec)), after=1, times=2)
    found = await schedules.call("PreviewSchedule", request)
    for method, wrong in [
        ("PreviewSchedule", pb.PreviewScheduleRequest(source=request.source, after=-1)),
        ("PreviewSchedule", pb.PreviewScheduleRequest(source=request.source, after=2**62)),
        ("ListSchedules", pb.ListSchedulesRequest(status=77)),  # type: ignore[arg-type]
    ]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await schedules.call(method, wrong)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert list(found.times) == [ms("1972-02-29"), ms("1976-02-29")] and found.time_zone == "UTC"
    assert await schedules.gateway.context.log.read(subjects.run_all(commands.key_of("default", "x"))) == []
