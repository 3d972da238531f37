"""A backup of a running stack: stopped for the copy, started again as it was, whole, and restored with all it knew."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import nats
import pytest

from agentctl import stack as agentstack
from agentctl.stack import backup
from agentctl.stack.layout import Layout
from agentflow_common.embedded.servers import StackError
from agentflow_sdk import Client
from tests.support.agentctl import AgentCtl
from tests.support.stack import running_stack
from tests.support.waiting import PATIENCE_S

cli = AgentCtl()
pytestmark = pytest.mark.integration

MAIL = "jane.doe" + "@example.com"
FLOW = """\
name: read
inputs: {path: {type: string}}
outputs: {text: ingest.output.text}
dag:
  nodes:
    - {id: ingest, type: tool, config: {tool_name: file.read, tool_args: {path: "{{path}}"}}}
"""


@pytest.fixture
def still(tmp_path: Path) -> Path:
    """The data dir of a stack that does not run: files of every kind, a vault key, and none of a database."""
    root = tmp_path / "still"
    (root / "nats" / "jetstream" / "deep").mkdir(parents=True)
    (root / "nats" / "jetstream" / "deep" / "1.blk").write_bytes(b"\0\1" * 100_000)
    (root / "empty").mkdir(mode=0o700)
    (root / "files").mkdir()
    (root / "files" / "a.txt").write_text("a")
    (root / "files" / "link").symlink_to("a.txt")
    for name in ("run", "logs"):
        (root / name).mkdir()
        (root / name / "x").write_text("x")
    for name, text in (
        ("vault.key", "a2V5" * 11 + "\n"),
        ("dev.key", "d\n"),
        ("nats.token", "n"),
        ("options.json", "{}"),
    ):
        (root / name).touch(mode=0o600)
        (root / name).write_text(text)
    return root


def test_usage_15_a_backup_holds_runs_prompts_and_the_vault_and_restores_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTFLOW_CLI_CONFIG", str(tmp_path / "config.yaml"))
    (tmp_path / "letter.txt").write_text(f"Write to {MAIL} today.")
    with running_stack(tmp_path, file_roots=[str(tmp_path)]) as stack:
        with Client(stack.grpc, stack.dev_key) as client:
            client.prompts.create("greeting", "Hello {{ name }}")
            run = client.workflows.submit(FLOW, inputs={"path": str(tmp_path / "letter.txt")})
            done = client.workflows.wait(run, timeout=PATIENCE_S)
            assert MAIL not in json.dumps(done.output), done
            verified = client.audit.verify()
        made = json.loads(cli("backup", "create", "--data-dir", stack.data_dir, "-o", "json").stdout)
        archive, key_file = Path(made["archive"]), Path(made["key_file"])
        assert made["key"] == "separate"
        assert {archive.stat().st_mode & 0o777, key_file.stat().st_mode & 0o777} == {0o600}
        assert set(stack.status()) == {"nats", "postgres", *agentstack.SERVICES}, "started again with its options"
        with tarfile.open(archive) as tar:
            names = {name.partition("/")[2] for name in tar.getnames()}
        assert not names & {"vault.key", "dev.key", "nats.token", "stack.json"}
        assert cli("backup", "verify", archive).stderr.strip() == f"{key_file} is the key of its vault"
        assert "stop it first" in cli(
            "backup", "restore", archive, "--data-dir", stack.data_dir, "--force", code=1
        ).stderr  # fmt: skip
    shutil.rmtree(stack.data_dir)
    restored = tmp_path / "elsewhere" / "restored"
    moved = key_file.rename(tmp_path / "moved.key")
    assert "--key-file" in cli("backup", "restore", archive, "--data-dir", restored, code=1).stderr
    assert not restored.exists()
    cli("backup", "restore", archive, "--data-dir", restored, "--key-file", moved)
    try:
        info = agentstack.start(agentstack.Options(data_dir=restored, ready_timeout_s=180.0))
        with Client(info.grpc, Path(info.dev_key_file).read_text().strip()) as client:
            assert client.prompts.get("greeting").template == "Hello {{ name }}"
            assert client.workflows.get(run).output == done.output
            shown = client.workflows.get(run, reveal=True, reason="restore drill")
            assert shown.output == {"text": f"Write to {MAIL} today."}
            again = client.audit.verify(to_sequence=verified.last_sequence)
            assert (again.digest, again.problems) == (verified.digest, ())
            following = client.workflows.submit(FLOW, inputs={"path": str(restored / "files" / "none.txt")})
            assert client.workflows.wait(following, timeout=PATIENCE_S).status == "failed", "it goes on with new runs"
    finally:
        agentstack.down(restored)


async def test_a_backup_starts_only_what_ran(tmp_path: Path) -> None:
    with running_stack(tmp_path, services=["scheduler"], file_roots=[str(tmp_path)]) as stack:
        nc = await nats.connect(stack.nats_url)
        await nc.jetstream().add_stream(name="kept", subjects=["kept.>"])
        await nc.jetstream().publish("kept.a", b"1")
        await nc.close()
        made = backup.create(stack.data_dir)
        assert set(stack.status()) == {"nats", "postgres", "scheduler"}, "started again with its options"
        assert (made.key, made.key_file) == ("none", None)  # no security service, no vault
    shutil.rmtree(stack.data_dir)
    restored = tmp_path / "restored"
    assert backup.restore(made.archive, restored) is None
    try:
        info = agentstack.start(agentstack.Options(data_dir=restored, services=["scheduler"]))
        nc = await nats.connect(info.nats)
        assert (await nc.jetstream().stream_info("kept")).state.messages == 1
        await nc.close()
    finally:
        agentstack.down(restored)


def test_usage_15_a_restore_gives_back_every_file_with_its_mode(still: Path, tmp_path: Path) -> None:
    made = backup.create(still)
    older = tmp_path / "new"
    assert backup.restore(made.archive, older) is None

    def seen(root: Path) -> dict[str, tuple[int, bytes | str]]:
        found: dict[str, tuple[int, bytes | str]] = {}
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            what = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
            if name.split("/")[0] not in {"run", "logs", "dev.key", "nats.token", "options.json", "stack.lock"}:
                found[name] = (path.lstat().st_mode, what)
        return found

    assert seen(older) == seen(still)
    assert json.loads((older / "options.json").read_bytes())["data_dir"] == str(older)
    assert not (older / "run").exists()
    assert not (older / "dev.key").exists()
    assert [path.name for path in tmp_path.iterdir() if "restoring" in path.name or path.suffix == ".part"] == []


def test_usage_15_nothing_is_overwritten_without_force(still: Path, tmp_path: Path) -> None:
    archive = tmp_path / "copy.tar.gz"
    first = cli("backup", "create", archive, "--data-dir", still)
    assert "Move it to another place" in first.stderr
    before = archive.read_bytes()
    assert "--force" in cli("backup", "create", archive, "--data-dir", still, code=1).stderr
    archive.rename(tmp_path / "other.tar.gz")
    assert "vault.key exists already" in cli("backup", "create", archive, "--data-dir", still, code=1).stderr
    assert before == (tmp_path / "other.tar.gz").read_bytes()
    cli("backup", "create", archive, "--data-dir", still, "--force")
    assert "inside the data dir" in cli("backup", "create", still / "x.tar.gz", "--data-dir", still, code=1).stderr
    (still / "files" / "a.txt").write_text("later")
    assert "is not empty" in cli("backup", "restore", archive, "--data-dir", still, code=1).stderr
    assert (still / "files" / "a.txt").read_text() == "later"
    assert "the old data dir is now" in cli("backup", "restore", archive, "--data-dir", still, "--force").stderr
    assert (still / "files" / "a.txt").read_text() == "a"
    (aside,) = tmp_path.glob("still.before-restore-*")
    assert (aside / "files" / "a.txt").read_text() == "later"


def test_usage_15_the_key_is_apart_inside_or_another_one(still: Path, tmp_path: Path) -> None:
    inside = cli("backup", "create", tmp_path / "inside.tar.gz", "--data-dir", still, "--with-key")
    assert "can read every original" in inside.stderr
    assert not (tmp_path / "inside.tar.gz.vault.key").exists()
    cli("backup", "restore", tmp_path / "inside.tar.gz", "--data-dir", tmp_path / "one")
    assert (tmp_path / "one" / "vault.key").read_bytes() == (still / "vault.key").read_bytes()
    apart = tmp_path / "apart.tar.gz"
    cli("backup", "create", apart, "--data-dir", still, "--key-file", tmp_path / "k")
    (tmp_path / "wrong").write_text("b2F1" * 11)
    for words in (("verify",), ("restore", "--data-dir", tmp_path / "two")):
        refused = cli("backup", words[0], apart, *words[1:], "--key-file", tmp_path / "wrong", code=1)
        assert "is not the key" in refused.stderr
    assert not (tmp_path / "two").exists()
    cli("backup", "restore", apart, "--data-dir", tmp_path / "two", "--key-file", tmp_path / "k")
    assert (tmp_path / "two" / "vault.key").stat().st_mode & 0o777 == 0o600
    both = cli("backup", "create", "--data-dir", still, "--with-key", "--key-file", tmp_path / "k2", code=2)
    assert "exclude each other" in both.stderr


def _rewritten(archive: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]) -> None:
    """Writes the archive anew, member by member."""
    out = io.BytesIO()
    with tarfile.open(archive) as tar, tarfile.open(fileobj=out, mode="w:gz") as made:
        for member in tar:
            source = tar.extractfile(member) if member.isfile() else None
            changed = change(member, source.read() if source else b"")
            if changed is not None:
                changed[0].size = len(changed[1])
                made.addfile(changed[0], io.BytesIO(changed[1]))
    archive.write_bytes(out.getvalue())


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "cut off", "no manifest", "bit", "escape"])
def test_usage_15_a_damaged_archive_is_refused_and_nothing_is_left(damage: str, still: Path, tmp_path: Path) -> None:
    archive = backup.create(still).archive

    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes] | None:
        name = member.name.partition("/")[2]
        if damage == "changed" and name == "files/a.txt":
            return member, b"b"
        if (damage, name) in {("missing", "files/a.txt"), ("no manifest", "MANIFEST.json")}:
            return None
        if damage in {"added", "escape"} and name == "files/a.txt":
            member.name = "still/files/new.txt" if damage == "added" else "still/../../escaped.txt"
        return member, data

    if damage == "cut off":
        archive.write_bytes(archive.read_bytes()[:-200])
    elif damage == "bit":
        data = bytearray(gzip.decompress(archive.read_bytes()))
        at = data.index(b"\0\1" * 1000) + 500
        data[at] ^= 4
        archive.write_bytes(gzip.compress(bytes(data)))
    else:
        _rewritten(archive, change)
    for act in (lambda: backup.verify(archive), lambda: backup.restore(archive, tmp_path / "new")):
        with pytest.raises(StackError) as refused:
            act()
        assert any(
            word in str(refused.value) for word in ("not whole", "damaged", "MANIFEST", "not part of a backup")
        ), refused.value
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.rglob("escaped.txt"))
    assert [path.name for path in tmp_path.iterdir() if "restoring" in path.name] == []
    assert "error" in cli("backup", "verify", archive, code=1).stderr


def test_a_folder_without_a_stack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="is not the data dir of a stack"):
        backup.create(tmp_path)
    assert "no file" in cli("backup", "verify", tmp_path / "none.tar.gz", code=1).stderr
    assert Layout(tmp_path).root == tmp_path
