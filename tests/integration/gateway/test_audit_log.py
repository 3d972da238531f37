"""The audit log over every door: who may read it, what it shows, and that a changed or deleted entry is noticed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log import event_log
from agentflow_common.log.event_log import Entry
from agentflow_gateway.operations import audit_log
from agentflow_sdk import (
    AsyncClient,
    AuditEntry,
    AuditVerified,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from tests.support.agentctl import AgentCtlInThread, configure
from tests.support.gateway import GatewayUnderTest, running_gateway

pytestmark = pytest.mark.integration

ORG = "default"
T0 = 1_790_000_000_000


@pytest.fixture
async def gateway(nats_url: str, db_env: dict[str, str]) -> AsyncIterator[GatewayUnderTest]:
    async with running_gateway(nats_url, db_env) as made:
        yield made


@contextlib.asynccontextmanager
async def client(gateway: GatewayUnderTest, *permissions: str, org: str = ORG) -> AsyncIterator[AsyncClient]:
    key = await gateway.key_for(org, *permissions)
    async with gateway.client(key) as made:
        yield made


async def write(
    gateway: GatewayUnderTest, number: int, *, org: str = ORG, run: str = "run_1", action: str = "restore"
) -> int:
    record = ev.AuditRecorded(
        org=org, run=run, ts=T0 + number * 1000, action=action, actor=f"actor{number % 2}", step="s",
        reason=f"case {number}", counts={"IBAN_CODE": number},
    )  # fmt: skip
    return (await gateway.context.log.append(Entry(subjects.audit(org, run), ev.encode(record)))).seq


async def every(admin: AsyncClient, **wanted: Any) -> list[AuditEntry]:
    found: list[AuditEntry] = []
    token = ""
    while True:
        page = await admin.audit.list(page_token=token, **wanted)
        found.extend(page.entries)
        token = page.next_page_token
        if not token:
            return found


async def whole(admin: AsyncClient) -> AuditVerified:
    done = await admin.audit.verify()
    while done.more:
        done = await admin.audit.verify(after_sequence=done.last_sequence, after_digest=done.digest)
    return done


async def test_usage_04_the_audit_log_is_listed_newest_first_by_filter_and_page(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "WINDOW", 3)  # many windows, small reads
    monkeypatch.setattr(event_log, "_READ_BATCH", 4)
    sequences = [await write(gateway, n, run=f"run_{n % 3}") for n in range(12)]
    await write(gateway, 99, org="other")
    async with client(gateway, "admin") as admin:
        found = await every(admin, action="restore", limit=5)
        assert [entry.sequence for entry in found] == sequences[::-1]
        first = found[-1]
        assert (first.at, first.actor, first.run_id, first.step) == (T0, "actor0", "run_0", "s")
        assert (first.reason, found[0].counts) == ("case 0", {"IBAN_CODE": 11})
        by_run = await every(admin, run_id="run_1", limit=1000)
        assert [entry.reason for entry in by_run] == ["case 10", "case 7", "case 4", "case 1"]
        by_actor = await every(admin, actor="actor1", action="restore", limit=2)
        assert [entry.reason for entry in by_actor] == [f"case {n}" for n in (11, 9, 7, 5, 3, 1)]
        by_time = await every(admin, action="restore", after_ms=T0 + 3000, before_ms=T0 + 5000, limit=3)
        assert [entry.reason for entry in by_time] == ["case 4", "case 3"]
        assert (await admin.audit.get(sequences[5])).reason == "case 5"
        page = await admin.audit.list(action="restore", limit=2)
        with pytest.raises(InvalidArgumentError, match="other filters"):
            await admin.audit.list(action="block", page_token=page.next_page_token)
        with pytest.raises(InvalidArgumentError, match="range"):
            await admin.audit.list(after_ms=5, before_ms=5)


async def test_usage_04_a_long_log_is_searched_in_bounded_parts(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "WINDOW", 2)
    monkeypatch.setattr(audit_log, "SCANNED_MAX", 4)
    wanted = await write(gateway, 1, action="block")
    for n in range(2, 12):
        await write(gateway, n)
    async with client(gateway, "auditor") as auditor:
        page = await auditor.audit.list(action="block")
        assert page.entries == ()
        assert page.next_page_token  # not found yet, and it says that there may be more
        assert [entry.sequence for entry in await every(auditor, action="block")] == [wanted]


async def test_usage_04_only_auditors_and_administrators_read_the_audit_log_and_each_reading_is_an_entry(
    gateway: GatewayUnderTest,
) -> None:
    seq = await write(gateway, 1)
    async with client(gateway, "read", "write", "reveal", "operator") as reader:
        for call in (reader.audit.list(), reader.audit.get(seq), reader.audit.verify()):
            with pytest.raises(PermissionDeniedError, match="auditor"):
                await call
    async with client(gateway, "admin", org="other") as stranger:
        assert (await stranger.audit.list()).entries == ()
        assert [entry.action for entry in (await stranger.audit.list()).entries] == ["audit_list"]
        with pytest.raises(NotFoundError, match="audit list"):
            await stranger.audit.get(seq)
    async with client(gateway, "auditor") as auditor:
        await auditor.audit.get(seq)
        await auditor.audit.list(actor="actor1")
        await auditor.audit.verify()
        newest = (await auditor.audit.list()).entries
        assert [(e.action, e.reason.split(",")[0]) for e in newest] == [
            ("audit_verify", "3 entries after 0"),
            ("audit_list", "actor=actor1"),
            ("audit_get", f"entry {seq}"),
            ("restore", "case 1"),
        ]
        assert newest[0].actor.startswith("test:key_")
        with pytest.raises(PermissionDeniedError):
            await auditor.workflows.list()


async def test_usage_04_a_deleted_and_a_foreign_entry_are_noticed(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "VERIFIED_MAX", 4)
    monkeypatch.setattr(event_log, "_READ_BATCH", 2)
    sequences = [await write(gateway, n) for n in range(9)]
    async with client(gateway, "auditor") as auditor:
        first = await auditor.audit.verify()
        assert first.more
        assert (await whole(auditor)).problems == ()
        before = await auditor.audit.verify(to_sequence=sequences[3])
        again = await auditor.audit.verify(to_sequence=sequences[3])
        assert (before.digest, before.last_sequence) == (again.digest, sequences[3])
        moved = ev.AuditRecorded(org="other", run="run_9", ts=T0, action="restore", actor="x")
        foreign = (await gateway.context.log.append(Entry(subjects.audit(ORG, "run_1"), ev.encode(moved)))).seq
        junk = (await gateway.context.log.append(Entry(subjects.audit(ORG, "run_1"), b"{}"))).seq
        await gateway.context.nc.jsm().delete_msg(subjects.AUDIT_STREAM, sequences[2])
        problems = []
        done = await auditor.audit.verify()
        problems += done.problems
        while done.more:
            done = await auditor.audit.verify(after_sequence=done.last_sequence, after_digest=done.digest)
            problems += done.problems
        assert [(item.sequence, item.problem.split()[0]) for item in problems] == [
            (0, "1"),
            (foreign, "it"),
            (junk, "not"),
        ]
        changed = await auditor.audit.verify(to_sequence=sequences[3])
        assert changed.digest != before.digest
        with pytest.raises(InvalidArgumentError, match="digest"):
            await auditor.audit.verify(after_sequence=3, after_digest="zz")


@pytest.fixture
async def cli(gateway: GatewayUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgentCtlInThread:
    configure(monkeypatch, tmp_path, gateway.endpoint, await gateway.key_for(ORG, "admin", "reveal"))
    monkeypatch.setenv("COLUMNS", "80")
    return AgentCtlInThread()


async def test_usage_04_the_command_line_reads_and_verifies_the_audit_log(
    gateway: GatewayUnderTest, cli: AgentCtlInThread
) -> None:
    run = "run_" + "k7" * 13
    sequences = [await write(gateway, n, run=run) for n in range(3)]
    listed = json.loads((await cli("audit", "list", "--action", "restore", "-o", "json")).stdout)
    assert [item["sequence"] for item in listed] == sequences[::-1]
    since = json.loads(
        (await cli("audit", "list", "--since", "2026-09-21T14:13:22Z", "--run", run, "-o", "json")).stdout
    )
    assert [item["reason"] for item in since] == ["case 2"]
    assert "case 1" in (await cli("audit", "get", str(sequences[1]))).stdout
    assert "audit list" in (await cli("audit", "get", "9999", code=2)).stderr
    verified = await cli("audit", "verify")
    mark = verified.stdout.strip()  # one line at 80 columns too
    assert "no problem" in verified.stderr
    assert "unchanged" in (await cli("audit", "verify", "--against", mark)).stderr
    assert "SEQUENCE:DIGEST" in (await cli("audit", "verify", "--against", "12", code=2)).stderr
    await gateway.context.nc.jsm().delete_msg(subjects.AUDIT_STREAM, sequences[0])
    broken = json.loads((await cli("audit", "verify", "--against", mark, "-o", "json", code=1)).stdout)
    assert not broken["whole"]
    assert [item["sequence"] for item in broken["problems"]] == [0, int(mark.partition(":")[0])]


async def test_usage_04_originals_need_a_reason_at_every_door(gateway: GatewayUnderTest, cli: AgentCtlInThread) -> None:
    run = (await gateway.submit()).run_id
    await gateway.finish(run)
    for words in (("workflow", "get", run), ("dead", "get", "1")):
        for more in ((), ("--reason", "  ")):
            refused = await cli(*words, "--reveal", *more, code=2)
            assert "--reason WHY" in refused.stderr
    assert not [item for item in gateway.neighbours.asked if hasattr(item, "reason")]
    async with client(gateway, "admin", "reveal") as revealing:
        for call in (revealing.workflows.get(run, reveal=True), revealing.workflows.get(run, reveal=True, reason=" ")):
            with pytest.raises(InvalidArgumentError, match="reason"):
                await call
    shown = await cli("workflow", "get", run, "--reveal", "--reason", " complaint 7 ")
    assert shown.stdout
    (asked,) = [item for item in gateway.neighbours.asked if hasattr(item, "reason")]
    assert asked.reason == "complaint 7"
