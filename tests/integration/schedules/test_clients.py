"""Schedules by the SDK, sync and async, and by agentctl, against a real gateway, scheduler, NATS and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agentflow.v1 import workflow_pb2
from agentflow_common.runtime.service import running
from agentflow_scheduler.app import app as scheduler_app
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_sdk import AlreadyExistsError, Client, InvalidArgumentError, NotFoundError, ScheduleStatus
from tests.support.agentctl import AgentCtlInThread, configure
from tests.support.gateway import GatewayUnderTest, running_gateway
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.integration

WORKFLOW = """\
name: report
version: 1
inputs: {text: {type: string, default: hello}}
dag:
  nodes:
    - {id: read, type: function, config: {function_name: text_splitter, inputs: {text: "{{text}}"}}}
"""
FILE = """\
name: from_file
workflow: report
cron: ["30 2 * * mon-fri", "@at 2090-01-01T00:00:00"]
time_zone: Europe/Berlin
overlap: buffer_all
jitter: 30s
holidays: [12-25]
"""


@pytest.fixture
async def gateway(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[GatewayUnderTest]:
    async with (
        running("scheduler", SchedulerSettings(nats_url=nats_url), scheduler_app),
        running_gateway(nats_url, db_env) as gateway,
    ):
        request = workflow_pb2.RegisterWorkflowRequest(definition_text=WORKFLOW)
        await gateway.workflows.RegisterWorkflow(request, metadata=gateway.auth())
        yield gateway


async def test_the_async_client(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as client:
        made = await client.schedules.create({"name": "a", "workflow": "report", "cron": ["@daily"]})
        assert made.changed and made.schedule.status is ScheduleStatus.ACTIVE
        assert made.schedule.spec == {"name": "a", "workflow": "report", "cron": ["@daily"]}
        assert not (await client.schedules.create({"name": "a", "workflow": "report", "cron": "@daily"})).changed
        with pytest.raises(AlreadyExistsError):
            await client.schedules.create({"name": "a", "workflow": "report", "cron": "@hourly"})
        with pytest.raises(InvalidArgumentError) as caught:
            await client.schedules.create("name: b\nworkflow: report\ncron: 61 * * * *\n")
        assert caught.value.problems[0].place == "line 3, cron"
        assert (await client.schedules.update({"name": "a", "workflow": "report", "cron": "@hourly"})).changed
        assert await client.schedules.pause("a", "release") and not await client.schedules.pause("a")
        assert (await client.schedules.get("a")).paused_reason == "release"
        assert await client.schedules.resume("a")
        async with asyncio.timeout(60):
            while (asked := await client.schedules.trigger("a", {"n": 1}, trigger_id="t")).status != "started":
                assert asked.status in {"accepted", "fired"}
        assert (asked.reason, asked.error) == ("", None)
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await client.schedules.get("a", times=3)).recent:
                await asyncio.sleep(0.05)
        assert found.recent[0].run_id == asked.run_id and len(found.next_times) == 3
        with pytest.raises(NotFoundError) as missing:
            await client.schedules.get("aa")
        assert "did you mean 'a'?" in str(missing.value)
        await client.schedules.delete("a")
        assert len(await client.schedules.list()) == 0


async def test_the_sync_client(gateway: GatewayUnderTest) -> None:
    def work() -> None:
        with Client(gateway.endpoint, gateway.key) as client:
            assert client.schedules.set_calendar("bank", ["2030-01-01"]) == 0
            client.schedules.create({"name": "s", "workflow": "report", "cron": "@daily", "calendars": ["bank"]})
            client.schedules.create({"name": "hook", "workflow": "report", "trigger": {"webhook": True}})
            assert [item.name for item in client.schedules.list(limit=1)] == ["hook"]
            assert [item.name for item in client.schedules.list(workflow="report", status="active")] == ["hook", "s"]
            hook = client.schedules.webhook("hook")
            assert hook.path == "/api/v1/triggers/default/hook"
            rotated = client.schedules.rotate_webhook("hook")
            assert rotated.key_version == 2 and rotated.secret != hook.secret and rotated.old_secret_until
            start = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
            dry = client.schedules.backfill("s", start, start + 3 * 86_400_000, dry_run=True)
            assert dry.count == 4 and dry.times[0] == start
            assert client.schedules.preview("s", after=start, times=2).times == (
                start + 86_400_000,
                start + 2 * 86_400_000,
            )
            assert [c.dates for c in client.schedules.calendars()] == [("2030-01-01",)]

    await asyncio.to_thread(work)


@pytest.fixture
def cli(gateway: GatewayUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgentCtlInThread:
    configure(monkeypatch, tmp_path, gateway.endpoint, gateway.key)
    return AgentCtlInThread("schedule")


async def test_agentctl(cli: AgentCtlInThread, tmp_path: Path) -> None:
    file = tmp_path / "nightly.yaml"
    file.write_text(FILE)
    made = await cli.json("create", "-f", str(file))
    assert made["spec"]["jitter_ms"] == 30_000 and made["status"] == "active"
    flags = [
        "--workflow",
        "report",
        "--cron",
        "@every 90s",
        "-i",
        "text={{schedule.time}}",
        "--set",
        "trigger.webhook=true",
        "--run-lane",
        "reports",
        "--set",
        "run_lane.limit=2",
    ]
    by_flags = await cli.json("create", "by_flags", *flags, "--overlap", "cancel")
    assert by_flags["spec"] == {
        "name": "by_flags", "workflow": "report", "cron": ["@every 90s"], "overlap": "cancel",
        "inputs": {"text": "{{schedule.time}}"}, "trigger": {"webhook": True},
        "run_lane": {"key": "reports", "limit": 2},
    }  # fmt: skip
    assert [item["name"] for item in await cli.json("list")] == ["by_flags", "from_file"]
    table = (await cli("list")).stdout
    assert "@every 90s, webhook" in table and "(Europe/Berlin)" in table

    times = (await cli("next", "from_file", "-n", "2", "--after", "2026-12-23T12:00:00Z")).stdout
    assert times == "Thu 2026-12-24 02:30:00 CET\nMon 2026-12-28 02:30:00 CET\n"
    assert (await cli.json("next", "--cron", "0 0 29 2 *", "--after", "2026-01-01T00:00:00Z", "-n", "1"))["times"] == [
        int(datetime(2028, 2, 29, tzinfo=UTC).timestamp() * 1000)
    ]
    assert "paused" in (await cli("pause", "from_file", "--reason", "release")).stderr
    assert "paused (release)" in (await cli("get", "from_file")).stdout
    assert "active" in (await cli("resume", "from_file")).stderr
    run = (await cli("trigger", "from_file", "--payload", '{"n": 1}', "--id", "t1")).stdout.strip()
    async with asyncio.timeout(PATIENCE_S):
        while run not in (shown := (await cli("get", "from_file")).stdout):
            await asyncio.sleep(0.1)
    assert "manual" in shown
    dry = (await cli("backfill", "from_file", "--start", "2026-03-28", "--end", "2026-03-31", "--dry-run")).stdout
    assert dry.startswith("1 time\n")
    assert "http://" in (await cli("webhook", "by_flags")).stdout
    assert "valid until" in (await cli("rotate", "by_flags", "--overlap", "2d")).stdout
    assert "end that overlap" in (await cli("rotate", "by_flags", code=2)).stderr
    assert "valid until" not in (await cli("rotate", "by_flags", "--end-overlap")).stdout
    assert "is not a span of time" in (await cli("rotate", "by_flags", "--overlap", "soon", code=2)).stderr
    async with asyncio.timeout(60):
        while "it starts no run: overlap" not in (
            said := (await cli("trigger", "from_file", "--overlap", "skip", "--id", "t2")).stderr
        ):
            assert "not decided yet" in said
    days = tmp_path / "days.txt"
    days.write_text("2030-12-25\n")
    assert "0 schedules follow it" in (await cli("calendar", "set", "bank", "-f", str(days))).stderr
    assert "give dates, or --file" in (await cli("calendar", "set", "bank", code=2)).stderr
    assert (await cli.json("calendar", "list"))[0]["dates"] == ["2030-12-25"]
    await cli("calendar", "delete", "bank")
    await cli("delete", "by_flags")
    assert [item["name"] for item in await cli.json("list")] == ["from_file"]


async def test_agentctl_says_what_is_wrong(cli: AgentCtlInThread, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(FILE.replace("30 2 * * mon-fri", "99 2 * * *"))
    told = (await cli("create", "-f", str(file), code=2)).stderr
    assert f"{file}:3: cron.0" in told and "bad minute" in told
    assert "give a name, or --file" in (await cli("create", "--workflow", "report", code=2)).stderr
    assert "leave out the other flags" in (await cli("create", "x", "-f", str(file), code=2)).stderr
    assert "there is no schedule 'none'" in (await cli("get", "none", code=2)).stderr
    assert "not JSON" in (await cli("trigger", "none", "--payload", "{", code=2)).stderr
    assert "did you mean" in (await cli("create", "x", "--workflow", "reprt", "--cron", "@daily", code=2)).stderr
