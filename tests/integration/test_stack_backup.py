"""A backup of a running stack: stopped for the copy, started again as it was, and whole."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import nats
import pytest

from agentctl import stack as agentstack
from agentctl.stack.backup import backup
from agentctl.stack.testing import running_stack
from agentflow_common.embedded import StackError

pytestmark = pytest.mark.integration


async def test_a_backup_restores_elsewhere(tmp_path: Path) -> None:
    with running_stack(tmp_path, services=["scheduler"], file_roots=[str(tmp_path)]) as stack:
        nc = await nats.connect(stack.nats_url)
        await nc.jetstream().add_stream(name="kept", subjects=["kept.>"])
        await nc.jetstream().publish("kept.a", b"1")
        await nc.close()
        archive = backup(stack.data_dir)
        assert archive.stat().st_mode & 0o077 == 0
        assert set(stack.status()) == {"nats", "postgres", "scheduler"}, "started again with its options"
    shutil.rmtree(stack.data_dir)
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "restored", filter="data" if not _root() else "fully_trusted")
    restored = tmp_path / "restored" / stack.data_dir.name
    try:
        info = agentstack.start(agentstack.Options(data_dir=restored, services=["scheduler"]))
        nc = await nats.connect(info.nats)
        assert (await nc.jetstream().stream_info("kept")).state.messages == 1
        await nc.close()
    finally:
        agentstack.down(restored)


def test_a_folder_without_a_stack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="holds no stack's data"):
        backup(tmp_path)


def _root() -> bool:
    """Root restores the owner of the database's folder too."""
    return os.geteuid() == 0
