"""The derived tables: as ClickHouse has them, and as a fold of the log gives them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from nats.aio.client import Client

from agentflow_common import rpc, subjects
from agentflow_common.connections.clickhouse import ClickHouse
from agentflow_common.errors import DeadlineError, RetryableError
from agentflow_common.log.event_log import EventLog
from agentflow_common.rpc import bus
from agentflow_common.settings import ClickHouseSettings
from agentflow_trace import rows
from agentflow_trace.derive import tables as derived
from agentflow_trace.derive.fold import fold
from agentflow_trace.rows import Row
from tests.support.waiting import PATIENCE_S, until

MS = "toUnixTimestamp64Milli"


async def reached(nc: Client, seq: int) -> None:
    """Returns once the trace service has derived everything up to a sequence."""

    async def there() -> bool:
        with contextlib.suppress(RetryableError, DeadlineError):
            reply = await bus.call(nc, rpc.TRACE_COUNTS, rpc.TraceCountsRequest())
            return bool(reply.derived_seq >= seq)
        return False

    await until(there, 3 * PATIENCE_S, f"nothing was derived up to {seq}")


async def check(settings: ClickHouseSettings, log: EventLog) -> Tables:
    """Compares the tables with a fold of the log. If ClickHouse is embedded, the trace service must not run."""
    client = ClickHouse(settings)
    await client.open()
    try:
        found = await tables(client)
    finally:
        await client.close()
    assert found == of_rows(await log_rows(log))
    return found


class Tables(NamedTuple):
    """The rows of each table in the order of their keys. A step's row has no `last_seq`: that depends on batches."""

    runs: list[derived.RunRow]
    steps: list[derived.StepRow]
    calls: list[derived.CallRow]
    costs: list[derived.CostRow]


async def tables(client: ClickHouse) -> Tables:
    async def read(name: str, kind: Any, columns: dict[str, str], final: str, order: str) -> list[Any]:
        names = ", ".join(f"{MS}({c})" if t.startswith("DateTime64") else c for c, t in columns.items())
        return [kind(*row) for row in await client.query(f"SELECT {names} FROM {name} {final} ORDER BY {order}")]

    return _plain(
        await read("runs", derived.RunRow, derived.RUNS, "FINAL", "org, run"),
        await read("steps", derived.StepRow, derived.STEPS, "FINAL", "org, run, step, attempt"),
        await read("llm_calls", derived.CallRow, derived.CALLS, "", "stream_seq, part, call"),
        await read("costs", derived.CostRow, derived.COSTS, "", "stream_seq, part"),
    )


def of_rows(found: Sequence[Row]) -> Tables:
    """Returns what the tables must have, given all rows of the log."""
    made = fold(found)
    return _plain(
        sorted(made.runs, key=lambda row: (row.org, row.run)),
        sorted(made.steps, key=lambda row: (row.org, row.run, row.step, row.attempt)),
        made.calls,
        made.costs,
    )


def _plain(
    runs: list[derived.RunRow],
    steps: list[derived.StepRow],
    calls: list[derived.CallRow],
    costs: list[derived.CostRow],
) -> Tables:
    return Tables(
        [
            row._replace(providers=tuple(row.providers), models=tuple(row.models), prompts=tuple(row.prompts))
            for row in runs
        ],
        [row._replace(last_seq=0) for row in steps if not row.gone],
        calls,
        costs,
    )


async def log_rows(log: EventLog) -> list[Row]:
    """Returns the rows of all messages that the log has."""
    found: list[Row] = []
    for message in await log.read(">", stream=subjects.EVENTS_STREAM):
        row = rows.of(subjects.EVENTS_STREAM, message.subject, message.data, message.seq, 0)
        found += rows.singly(row, message.data)
    return found
