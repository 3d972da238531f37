"""A log without room: what is refused says why, and what was accepted is there."""

from __future__ import annotations

from pathlib import Path

import nats
import pytest

from agentflow_common import subjects
from agentflow_common.embedded.nats import NatsServer
from agentflow_common.errors import RetryableError
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.log.streams import ensure_streams

pytestmark = pytest.mark.integration


class SmallServer(NatsServer):
    def _config(self) -> str:
        return super()._config().replace("jetstream {", "jetstream {\n  max_file_store: 4MB")


async def test_a_log_without_room_refuses_and_says_what_to_do(tmp_path: Path) -> None:
    server = SmallServer(tmp_path / "nats").start()
    try:
        nc = await nats.connect(server.url)
        log = EventLog(nc)
        await log.start()
        await ensure_streams(nc)
        key = subjects.key_of("acme", "run_1")
        acks = []

        async def fill() -> None:
            while len(acks) < 1_000:
                acks.append(await log.append(Entry(subjects.run_in(key), b"x" * 50_000)))

        with pytest.raises(RetryableError, match=r"no room.*free some on the disk") as caught:
            await fill()
        assert caught.value.kind == "log_full"
        with pytest.raises(RetryableError) as caught:
            await log.append_batch([Entry(subjects.run_in(key), b"x" * 50_000) for _ in range(3)])
        assert caught.value.kind == "log_full"
        assert len(await log.read(subjects.run_in(key))) == len(acks) > 10
        await nc.close()
    finally:
        server.stop()
