"""What a worker lists of a folder or a bucket: settled files, page by page, inside the allowed roots."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from agentflow_common import rpc
from agentflow_common.clock import SystemClock
from agentflow_common.errors import InvalidError, NotFoundError, PermissionDeniedError, TerminalError
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.sources import routes, store_rows
from agentflow_worker.sources.buckets import fixed_prefix
from agentflow_worker.sources.listing import Listing


def now_ms() -> int:
    return int(time.time() * 1000)


async def ask(settings: dict[str, Any], **request: Any) -> rpc.ListFilesReply:
    ((verb, handler),) = [
        route for route in routes(WorkerSettings(**settings), SystemClock()) if route[0] is rpc.LIST_FILES
    ]
    reply = await handler(verb.request(**request))
    assert isinstance(reply, rpc.ListFilesReply)
    return reply


def names(reply: rpc.ListFilesReply) -> list[str]:
    return [file.name for file in reply.files]


def file(name: str, changed_ms: int, etag: str = "1") -> rpc.ListedFile:
    return rpc.ListedFile(name=name, size=1, modified_ms=changed_ms, changed_ms=changed_ms, etag=etag)


def test_a_file_is_listed_once_it_has_not_changed_for_the_settle_time() -> None:
    listing = Listing(now_ms=10_000, settle_ms=3_000)
    for name, changed_ms in (("new", 9_000), ("just", 7_001), ("old", 7_000), ("future", 90_000)):
        listing.add(file(name, changed_ms))
    listing.add(file("bad\udcff", 0))
    reply = listing.page(rpc.ListFilesRequest())
    assert (names(reply), reply.unsettled, reply.unreadable, reply.more) == (["old"], 3, 1, False)


def test_pages_cover_everything_once_and_an_unchanged_list_is_empty() -> None:
    listing = Listing(now_ms=10, settle_ms=0)
    for name in ("c", "a", "e", "b", "d"):
        listing.add(file(name, 1))
    found: list[str] = []
    more = True
    while more:
        reply = listing.page(rpc.ListFilesRequest(after=found[-1] if found else "", limit=2))
        found += names(reply)
        more = reply.more
    assert found == ["a", "b", "c", "d", "e"]
    again = listing.page(rpc.ListFilesRequest(known=reply.digest))
    assert (again.files, again.more, again.digest) == ((), False, reply.digest)
    listing.files[0] = file("a", 1, etag="2")
    assert len(listing.page(rpc.ListFilesRequest(known=reply.digest)).files) == 5


async def test_a_folder_lists_what_matches(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("in/a.md", "in/deep/b.md", "in/c.txt"):
        (tmp_path / name).write_text("12345")
    os.utime(tmp_path / "in" / "a.md", ns=(5_000_000, 5_000_000))
    reply = await ask({"file_roots": (tmp_path,)}, folder="in", pattern="**/*.md")
    assert names(reply) == ["a.md", "deep/b.md"]
    first = reply.files[0]
    assert (first.size, first.modified_ms, first.etag) == (5, 5, "5-4c4b40")
    assert abs(first.changed_ms - now_ms()) < 60_000, "a time that was set does not make a new file an old one"
    unsettled = await ask({"file_roots": (tmp_path,)}, folder="in", pattern="**/*.md", settle_ms=3_600_000)
    assert (names(unsettled), unsettled.unsettled) == ([], 2)


async def test_a_folder_has_the_limits_of_the_file_tools(tmp_path: Path) -> None:
    data = tmp_path / "root" / ".agentflow"
    data.mkdir(parents=True)
    (data / "dev.key").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "root" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "root" / "key.txt").symlink_to(data / "dev.key")
    (tmp_path / "root" / "fine.txt").write_text("fine")
    settings = {"file_roots": (tmp_path / "root",), "data_dir": data}
    assert names(await ask(settings, folder=".")) == ["fine.txt"]
    for folder in ("..", "/etc", str(tmp_path), ".agentflow", str(data)):
        with pytest.raises(PermissionDeniedError):
            await ask(settings, folder=folder)
    with pytest.raises(NotFoundError):
        await ask(settings, folder="none")
    with pytest.raises(TerminalError):
        await ask({}, folder=".")
    with pytest.raises(InvalidError, match="neither"):
        await ask(settings)
    with pytest.raises(InvalidError, match="pattern"):
        await ask(settings, folder=".", pattern="../*")


async def test_a_bucket_that_is_a_folder_stays_in_its_root(tmp_path: Path) -> None:
    (tmp_path / "buckets" / "docs" / "a").mkdir(parents=True)
    (tmp_path / "buckets" / "docs" / "a" / "x.md").write_text("x")
    (tmp_path / "secret.md").write_text("secret")
    (tmp_path / "buckets" / "docs" / "out.md").symlink_to(tmp_path / "secret.md")
    settings = {"bucket_root": tmp_path / "buckets"}
    assert names(await ask(settings, bucket="file://docs", pattern="**/*.md")) == ["a/x.md"]
    with pytest.raises(NotFoundError):
        await ask(settings, bucket="file://none")
    with pytest.raises(PermissionDeniedError):
        await ask(settings, bucket="file://../x")
    with pytest.raises(TerminalError, match="AGENTFLOW_BUCKET_ROOT"):
        await ask({}, bucket="file://docs")


def test_only_the_part_of_a_bucket_is_read_that_can_match() -> None:
    assert fixed_prefix(["a", "b", "*.md"]) == "a/b"
    assert fixed_prefix(["a", "*", "b", "*.md"]) == "a"
    assert fixed_prefix(["**", "*.md"]) == ""
    assert fixed_prefix(["x.md"]) == ""


def test_the_names_of_a_table_are_quoted_in_the_query() -> None:
    request = rpc.ReadRowsRequest(database="shop", table='s.t"x', key='k"', position="p", after="5", after_key="7")
    text = store_rows.query(request, "bigint", filled=True)
    assert 'FROM "s"."t""x" AS t' in text
    assert '(t."p", t."k""") > ($1::text::xid8, $2::text::bigint)' in text
    assert 't."p" < pg_snapshot_xmin(pg_current_snapshot())' in text
    assert "IS NULL" not in text
    loose = store_rows.query(request, "bigint", filled=False)
    assert 'OR t."k""" IS NULL AND t."p" >= $1::text::xid8)' in loose
    request = rpc.ReadRowsRequest(database="shop", table="t", key="k", position="p", after="5")
    first = store_rows.query(request, "uuid", filled=True)
    assert 't."p" >= $1::text::xid8 AND $2::text IS NULL' in first


def test_the_databases_are_json_and_their_addresses_are_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTFLOW_TRIGGER_DATABASES", '{"shop": "postgresql://u:secret-7@h/d"}')
    settings = WorkerSettings()
    assert settings.trigger_databases["shop"].get_secret_value() == "postgresql://u:secret-7@h/d"
    assert "secret-7" not in repr(settings)
    monkeypatch.setenv("AGENTFLOW_TRIGGER_DATABASES", "")
    assert WorkerSettings().trigger_databases == {}
    monkeypatch.setenv("AGENTFLOW_TRIGGER_DATABASES", "[1]")
    with pytest.raises(ValueError, match="AGENTFLOW_TRIGGER_DATABASES"):
        WorkerSettings()


async def test_a_file_from_the_future_is_taken_too(tmp_path: Path) -> None:
    (tmp_path / "later.md").write_text("x")
    os.utime(tmp_path / "later.md", (4_000_000_000, 4_000_000_000))
    reply = await ask({"file_roots": (tmp_path,)}, folder=".", settle_ms=0)
    assert (names(reply), reply.unsettled) == (["later.md"], 0)
    assert abs(reply.files[0].changed_ms - now_ms()) < 60_000
    waiting = await ask({"file_roots": (tmp_path,)}, folder=".", settle_ms=60_000)
    assert (names(waiting), waiting.unsettled) == ([], 1)
