"""PROTECT and RESTORE against a real nats-server and PostgreSQL: what is promised before an answer is given."""

from __future__ import annotations

import asyncio
import contextlib
import re
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from agentflow_common import rpc, screening, subjects
from agentflow_common.errors import BlockedError, InvalidError, RetryableError
from agentflow_common.events import AuditRecorded, decode
from agentflow_common.rpc import bus
from agentflow_common.runtime import health_server, service
from agentflow_security import app as security_app
from agentflow_security import machine
from agentflow_security.app import app
from agentflow_security.detect import Finding
from agentflow_security.settings import SecuritySettings

pytestmark = pytest.mark.integration

CARD = "4111 1111 " + "1111 1111"
EMAIL = "jane.doe" + "@example.com"
DOCUMENT = {
    "note": f"Mail {EMAIL}, card {CARD}.",
    "card": int(CARD.replace(" ", "")),
    EMAIL: [f"again: {EMAIL}", 7, None],
}


def _settings(nats_url: str, db_env: dict[str, str], key_file: Path) -> SecuritySettings:
    values: dict[str, Any] = {name.lower(): value for name, value in db_env.items()}
    return SecuritySettings(nats_url=nats_url, AGENTFLOW_VAULT_KEY_FILE=key_file, **values)


@pytest.fixture
def settings(nats_url: str, db_env: dict[str, str], tmp_path: Path) -> SecuritySettings:
    return _settings(nats_url, db_env, tmp_path / "keys" / "vault.key")


@contextlib.asynccontextmanager
async def _running(settings: SecuritySettings) -> AsyncIterator[service.Context[SecuritySettings]]:
    async with service.running("security", settings, app) as context:
        yield context


async def _protect(context: Any, value: Any, org: str = "acme", run: str = "run_1", **more: str) -> rpc.ProtectReply:
    return await bus.call(context.nc, rpc.PROTECT, rpc.ProtectRequest(org=org, run=run, value=value, **more))


async def _restore(context: Any, value: Any, org: str = "acme", run: str = "run_1") -> rpc.RestoreReply:
    request = rpc.RestoreRequest(org=org, run=run, value=value, actor="auditor", reason="a test asks")
    return await bus.call(context.nc, rpc.RESTORE, request)


async def _audits(context: Any) -> list[AuditRecorded]:
    stored = await context.log.read("af.audit.>", stream=subjects.AUDIT_STREAM)
    return [event for item in stored if isinstance(event := decode(item.data), AuditRecorded)]


async def _sql(settings: SecuritySettings, sql: str) -> Any:
    connection = await asyncpg.connect(
        host=settings.db_host, port=settings.db_port, user=settings.db_user,
        password=settings.db_password or None, database=settings.db_name,
    )  # fmt: skip
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


async def test_round_trip_isolation_audit_and_restart(settings: SecuritySettings) -> None:
    async with _running(settings) as context:
        kept = await _protect(context, DOCUMENT, step="ingest")
        assert kept.counts == {"EMAIL_ADDRESS": 3, "CREDIT_CARD": 2}
        text = repr(kept.value)
        assert EMAIL not in text
        assert "1111" not in text
        assert (await _protect(context, kept.value)).value == kept.value

        for org, run in (("globex", "run_1"), ("acme", "run_2")):
            stranger = await _restore(context, kept.value, org=org, run=run)
            assert (stranger.value, stranger.restored) == (kept.value, 0)
        assert (await _protect(context, DOCUMENT, run="run_2")).value != kept.value

        again = await _protect(context, DOCUMENT, step="ingest")  # a redelivery: same tokens, one audit record
        assert again == kept
        back = await _restore(context, kept.value)
        assert back.value == DOCUMENT
        assert type(back.value["card"]) is int

        audits = await _audits(context)
        assert [(a.action, a.run, a.actor) for a in audits] == [
            ("protect", "run_1", "security"),
            ("restore", "run_1", "auditor"),
            ("restore", "run_2", "auditor"),
            ("protect", "run_2", "security"),
            ("restore", "run_1", "auditor"),
        ]
        assert audits[0].counts == kept.counts
        assert audits[-1].reason == "a test asks"
        assert all(EMAIL not in repr(audit) for audit in audits)

        rows = await _sql(settings, "SELECT * FROM security.vault")
        assert len(rows) == 6  # three values in each of two runs
        assert all(EMAIL.encode() not in row["ciphertext"] for row in rows)
        assert stat.S_IMODE(settings.vault_key_file.stat().st_mode) == 0o600

    async with _running(settings) as context:
        assert (await _restore(context, kept.value)).value == DOCUMENT

    settings.vault_key_file.unlink()
    with pytest.raises(RuntimeError, match="another master key"):
        async with _running(settings):
            pass


async def test_the_reason_of_a_restore_is_examined_before_it_is_written(settings: SecuritySettings) -> None:
    async with _running(settings) as context:
        kept = await _protect(context, DOCUMENT)
        request = rpc.RestoreRequest(
            org="acme", run="run_1", value=kept.value, actor="mary", reason=f"{EMAIL} asks for the card {CARD}"
        )
        assert (await bus.call(context.nc, rpc.RESTORE, request)).value == DOCUMENT
        written = [audit for audit in await _audits(context) if audit.action == "restore"][-1]
        assert EMAIL not in written.reason
        assert "1111" not in written.reason
        assert re.fullmatch(r"<EMAIL_ADDRESS:\w+> asks for the card <CREDIT_CARD:\w+>", written.reason)
        back = await _restore(context, written.reason)
        assert back.value == request.reason, "who may see originals sees whom the case was about"


async def test_detectors_are_warmed_after_readiness(
    settings: SecuritySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    healths: list[health_server.Health] = []
    seen: list[bool] = []
    done = threading.Event()

    def warm() -> None:
        seen.append(healths[0].ready)
        done.set()

    @contextlib.asynccontextmanager
    async def spied(context: service.Context[SecuritySettings]) -> AsyncIterator[None]:
        healths.append(context.health)
        async with app(context):
            yield

    monkeypatch.setattr(security_app, "warm", warm)
    async with service.running("security", settings, spied):
        assert await asyncio.to_thread(done.wait, 60)
    assert seen == [True]


async def test_concurrent_protects_make_one_row(settings: SecuritySettings) -> None:
    values = [f"user{n}@example.com and {EMAIL}" for n in range(10)] * 5
    async with _running(settings) as context:
        replies = await asyncio.gather(*(_protect(context, value) for value in values))
        assert len({reply.value.partition(" and ")[2] for reply in replies}) == 1
        assert len(await _sql(settings, "SELECT token FROM security.vault")) == 11


async def test_a_taken_token_id_becomes_longer(settings: SecuritySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_ID_CHARS_MIN", 1)  # ids of one letter collide soon
    for module in (machine, screening):
        monkeypatch.setattr(module, "TOKEN", re.compile(r"<([A-Z][A-Z_]{1,30}):([A-Z2-7]{1,12})>"))
    addresses = [f"person{n}@example.org" for n in range(60)]
    async with _running(settings) as context:
        tokens = [(await _protect(context, address)).value for address in addresses]
        assert len(set(tokens)) == len(addresses)
        assert (await _protect(context, addresses[::-1])).value == tokens[::-1]
        assert (await _restore(context, tokens)).value == addresses


async def test_fails_closed(settings: SecuritySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str, _low: str, _name: str) -> list[Finding]:
        raise ValueError(f"no idea what {text} is")

    async with _running(settings) as context:
        original = machine.protect
        monkeypatch.setattr(machine, "protect", lambda v, d, n, _: original(v, d, n, (broken,)))
        with pytest.raises(BlockedError) as blocked:
            await _protect(context, EMAIL, step="s")
        assert blocked.value.kind == "blocked_error"
        assert EMAIL not in blocked.value.message
        assert [(a.action, a.step) for a in await _audits(context)] == [("block", "s")]
        monkeypatch.undo()

        await context.nc.jsm().delete_stream(subjects.AUDIT_STREAM)
        for ask in (_protect, _restore):
            with pytest.raises(RetryableError) as unaudited:
                await ask(context, EMAIL)
            assert unaudited.value.kind == "audit_unavailable"

        await _sql(settings, "ALTER TABLE security.vault RENAME TO elsewhere")
        with pytest.raises(RetryableError) as unkept:
            await _protect(context, EMAIL)
        assert unkept.value.kind == "vault_unavailable"


async def test_refuses_what_is_out_of_bounds(settings: SecuritySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FINDINGS_MAX", 50)
    deep: Any = EMAIL
    for _ in range(70):
        deep = [deep]
    many = [f"p{n}@example.com" for n in range(machine.FINDINGS_MAX + 1)]
    async with _running(settings) as context:
        for value, kind in ((deep, "too_deep"), (many, "too_many_findings"), ("x9" * 2_200_000, "payload_too_large")):
            with pytest.raises(InvalidError) as refused:
                await _protect(context, value)
            assert refused.value.kind == kind
        for request in (
            rpc.RestoreRequest(org="acme", run="run_1", value="x", actor="", reason="r"),
            rpc.RestoreRequest(org="acme", run="a.b", value="x", actor="a", reason="r"),
        ):
            with pytest.raises(InvalidError):
                await bus.call(context.nc, rpc.RESTORE, request)
        assert await _audits(context) == []


async def test_a_fork_can_restore_what_its_origin_put_away(settings: SecuritySettings) -> None:
    async with _running(settings) as context:
        hidden = (await _protect(context, DOCUMENT)).value
        assert EMAIL not in str(hidden)
        assert (await _restore(context, hidden, run="run_2")).restored == 0
        request = rpc.AdoptRequest(org="acme", run="run_2", origin="run_1")
        first = await bus.call(context.nc, rpc.ADOPT, request)
        again = await bus.call(context.nc, rpc.ADOPT, request)
        assert (first.adopted, again.adopted) == (3, 3)
        assert EMAIL in str((await _restore(context, hidden, run="run_2")).value)
        fresh = (await _protect(context, f"call {EMAIL}", run="run_2")).value
        assert (await _restore(context, [fresh, hidden["note"]], run="run_2")).value == [
            f"call {EMAIL}", DOCUMENT["note"],
        ]  # fmt: skip
        other = rpc.AdoptRequest(org="rival", run="run_3", origin="run_1")
        assert (await bus.call(context.nc, rpc.ADOPT, other)).adopted == 0, "no org takes another's"
        stored = await context.log.read(subjects.audit("acme", "run_2"), stream=subjects.AUDIT_STREAM)
        actions = [decode(item.data).action for item in stored]  # type: ignore[union-attr]
        assert actions.count("adopt") == 1
