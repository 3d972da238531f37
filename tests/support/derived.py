"""The derived tables: as ClickHouse has them, and as a fold of the log gives them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import rpc, subjects
from agentflow_common.connections.clickhouse import ClickHouse
from agentflow_common.errors import DeadlineError, RetryableError
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.rpc import bus
from agentflow_common.settings import ClickHouseSettings
from agentflow_trace import rows
from agentflow_trace.derive import tables as derived
from agentflow_trace.derive.fold import fold
from agentflow_trace.rows import Row
from tests.support.waiting import PATIENCE_S, until

MS = "toUnixTimestamp64Milli"
TS = 1_763_700_000_000
ALL = 10**9  # a decision that had seen every fact before it


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


CALLS = (
    ev.LlmAttempt("openai", "m-1", ok=False, input_tokens=100, cost_nano=10, latency_ms=40, error="rate_limited",
                  status=429),
    ev.LlmAttempt("mistral", "m-2", ok=True, input_tokens=100, output_tokens=30, cost_nano=4_190, latency_ms=70,
                  finish_reason="stop"),
)  # fmt: skip
USAGE = ev.LlmUsage("mistral", "m-2", "analyzer@3", 200, 30, 4_200, attempts=CALLS, finish_reason="stop")
LIMITED = ev.StepError("rate_limited", "a: b")
DEFINITION = {"dag": {"nodes": [{"id": "read", "type": "tool"}, {"id": "analyze", "type": "llm"}]}}


def a_run(run: str, ts: int, *, ended: bool = True, step: str = "read") -> list[Entry]:
    """The log of one run: a step, and a map of two items, one of which is tried twice."""
    key = subjects.key_of("acme", run)
    own: dict[str, Any] = {"org": "acme", "run": run}

    def fact(event: ev.Event) -> Entry:
        return Entry(subjects.run_in(key), ev.encode(event))

    def offered(step: str, attempt: int, at: int, kind: str) -> Entry:
        event = ev.StepScheduled(
            **own, ts=at, seen=ALL, step=step, attempt=attempt, lane="gpu", kind=kind, config={}
        )  # fmt: skip
        return Entry(subjects.out_task(key, "gpu"), ev.encode(event))

    submitted = ev.RunSubmitted(
        **own, ts=ts, workflow="wf", version=7, definition=DEFINITION, digest="d1", tags={"team": "x"},
        origin=ev.OriginRef("run_0", "fork"), parent=ev.ParentRef("run_p", "call", 2),
    )  # fmt: skip
    entries = [
        fact(submitted),
        Entry(subjects.out_run(key), ev.encode(ev.RunStarted(**own, ts=ts + 1, workflow="wf", version=7, steps=2))),
        offered(step, 1, ts + 2, "tool"),
        fact(ev.StepCompleted(**own, ts=ts + 9, step=step, attempt=1, worker="w1", started_at=ts + 4, duration_ms=5)),
        Entry(
            subjects.out_step(key),
            ev.encode(ev.StepExpanded(**own, ts=ts + 10, seen=ALL, step="analyze", width=2)),
        ),
        offered("analyze[0]", 1, ts + 10, "llm"),
        offered("analyze[1]", 1, ts + 10, "llm"),
        fact(ev.StepFailed(**own, ts=ts + 20, step="analyze[0]", attempt=1, error=LIMITED)),
        offered("analyze[0]", 2, ts + 30, "llm"),
        fact(ev.StepCompleted(**own, ts=ts + 60, step="analyze[0]", attempt=2, started_at=ts + 35, llm=USAGE)),
    ]  # fmt: skip
    if ended:
        error = ev.StepError("boom", "it broke")
        event = ev.RunFailed(**own, ts=ts + 70, seen=ALL, error=error, step=step, cost_nano=4_200, duration_ms=70)
        entries.append(Entry(subjects.out_run(key), ev.encode(event)))
    return entries
