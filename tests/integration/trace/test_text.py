"""Words of errors and of outputs are found in ClickHouse, by an index and whatever the case of their letters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.connections import clickhouse
from agentflow_common.events.base import Payload
from agentflow_common.settings import ClickHouseSettings
from agentflow_trace import rows
from agentflow_trace.store import Store

pytestmark = pytest.mark.integration
TS = 1_763_700_000_000
MIGRATIONS = Path(rows.__file__).parents[2] / "migrations"
FIND = (
    "SELECT stream_seq FROM events WHERE org = 'acme' AND hasAllTokens(text, {words:String}) ORDER BY stream_seq "
    "SETTINGS force_data_skipping_indices = 'words'"
)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[clickhouse.ClickHouse]:
    client = clickhouse.ClickHouse(ClickHouseSettings(clickhouse_path=str(tmp_path / "clickhouse")))
    await client.open()
    yield client
    await client.close()


def _rows(first: int) -> list[rows.Row]:
    text = "First line\nsecond line\tthird, GRÜSSE"
    events: list[ev.Event] = [
        ev.StepCompleted(org="acme", run="r", ts=TS, step="a", attempt=1, output=Payload({"said": text, "n": 42})),
        ev.StepFailed(
            org="acme", run="r", ts=TS, step="a", attempt=2, error=ev.StepError("rate_limited", "The quota of Zürich")
        ),
        ev.StepStarted(org="acme", run="r", ts=TS, step="a", attempt=3, worker="zirconium"),
    ]
    place = subjects.run_in(subjects.key_of("acme", "r"))
    return [rows.of("AF_EVENTS", place, ev.encode(event), seq, TS) for seq, event in enumerate(events, first)]


async def test_words_of_outputs_and_errors_are_found_by_the_index(client: clickhouse.ClickHouse) -> None:
    await clickhouse.migrate(client, MIGRATIONS)
    await Store(client).insert(_rows(1), 0)

    async def found(words: str) -> list[int]:
        return [int(seq) for (seq,) in await client.query(FIND, {"words": words})]

    for words in ("first", "second", "third", "grüsse", "42", "line third", "said"):
        assert await found(words) == [1], words
    for words in ("quota", "zürich", "quota zürich"):
        assert await found(words) == [2], words
    for words in ("zirconium", "nsecond", "tthird", "quota line", "acme", "SECOND"):
        assert await found(words) == [], words


async def test_rows_that_were_written_before_get_the_index(client: clickhouse.ClickHouse, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    for file in sorted(MIGRATIONS.glob("*.sql")):
        if file.name < "0008":
            (earlier / file.name).write_text(file.read_text())
    await clickhouse.migrate(client, earlier)
    await Store(client).insert(_rows(1), 0)
    await clickhouse.migrate(client, MIGRATIONS)
    await client.command(
        "ALTER TABLE events MATERIALIZE INDEX words SETTINGS mutations_sync = 2"
    )  # waits for the first
    sizes = "SELECT sum(secondary_indices_marks_bytes) > 0 FROM system.parts WHERE table = 'events' AND active"
    assert (await client.query(sizes))[0][0]
    await Store(client).insert(_rows(4), 3)
    assert await client.query(FIND, {"words": "second"}) == [(1,), (4,)]
