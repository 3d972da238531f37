"""Developments over time in a real ClickHouse are what a sum over the rows gives."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agentflow_common.connections import clickhouse as ch
from agentflow_common.rpc import TraceSeriesPoint, TraceSeriesRequest
from agentflow_common.settings import ClickHouseSettings
from agentflow_trace.derive.tables import CALLS, RUNS, STEPS, CallRow, RunRow, StepRow
from agentflow_trace.series.plan import SERIES_MAX, checked
from agentflow_trace.series.store_series import OTHER, SeriesStore
from tests.support.paths import ROOT

pytestmark = pytest.mark.integration
BEGAN, HOUR = 1_763_700_000_000, 3_600_000
STATUSES = ("completed", "completed", "failed", "running", "cancelled")
ENDED = ("completed", "failed", "cancelled")
Sample = tuple[str, int, bool, int, int, float, bool]  # series, time, failed, cost, tokens, latency, ended


@pytest.fixture
async def clickhouse(tmp_path: Path) -> AsyncIterator[ch.ClickHouse]:
    settings = ClickHouseSettings(clickhouse_path=str(tmp_path / "clickhouse"))
    client = ch.ClickHouse(settings)
    await client.open()
    await ch.migrate(client, Path(ROOT / "services/trace/migrations"))
    yield client
    await client.close()


def runs(chance: random.Random, org: str, count: int) -> list[RunRow]:
    return [
        RunRow(
            org, BEGAN + chance.randrange(6 * HOUR), f"run_{number}", f"flow_{chance.randrange(12)}", 1,
            chance.choice(STATUSES), parent_run=chance.choice(("", "", "run_0")), duration_ms=chance.randrange(9_999),
            cost_nano=chance.randrange(10**12), input_tokens=chance.randrange(99), output_tokens=chance.randrange(99),
            last_seq=number + 1,
        )
        for number in range(count)
    ]  # fmt: skip


async def insert(clickhouse: ch.ClickHouse, table: str, columns: dict[str, str], rows: Sequence[Any]) -> None:
    await clickhouse.insert(table, columns, list(zip(*rows, strict=True)))


def expected(samples: list[Sample], asked: TraceSeriesRequest) -> list[TraceSeriesPoint]:
    """Returns what a plain sum gives."""
    totals: dict[str, list[int]] = {}
    for name, _, _, cost, *_ in samples:
        total = totals.setdefault(name, [0, 0])
        total[0] += cost
        total[1] += 1
    largest = sorted(totals, key=lambda name: (-totals[name][0], -totals[name][1], name))[:SERIES_MAX]
    groups: dict[tuple[str, int], list[Sample]] = {}
    for sample in samples:
        at = sample[1] // asked.bucket_ms * asked.bucket_ms
        groups.setdefault((sample[0] if sample[0] in largest else OTHER, at), []).append(sample)
    return [
        TraceSeriesPoint(
            name, at, len(found), sum(one[2] for one in found), sum(one[3] for one in found),
            sum(one[4] for one in found), *(quantile(found, level) for level in (0.5, 0.95)),
        )
        for (name, at), found in sorted(groups.items())
    ]  # fmt: skip


def quantile(found: list[Sample], level: float) -> float:
    values = sorted(one[5] for one in found if one[6])
    return values[min(len(values) - 1, math.floor(level * len(values)))] if values else 0.0


def asked(org: str, by: str, workflow: str = "") -> TraceSeriesRequest:
    return checked(TraceSeriesRequest(org, BEGAN, BEGAN + 6 * HOUR, by, workflow, HOUR))


@pytest.mark.parametrize("by", ["", "workflow", "status"])
async def test_runs_are_summed_and_the_cost_of_subworkflows_counts_once(clickhouse: ch.ClickHouse, by: str) -> None:
    org = f"runs{by}"
    made = runs(random.Random(7), org, 400)
    older = [row._replace(status="running", cost_nano=1, last_seq=0) for row in made[:50]]
    await insert(clickhouse, "runs", RUNS, older)
    await insert(clickhouse, "runs", RUNS, [*made, *runs(random.Random(8), f"other{by}", 20)])
    name = {"": lambda _: "", "workflow": lambda row: row.workflow, "status": lambda row: row.status}[by]
    samples: list[Sample] = [
        (
            name(row), row.submitted_at, row.status == "failed", 0 if row.parent_run else row.cost_nano,
            0 if row.parent_run else row.input_tokens + row.output_tokens, float(row.duration_ms), row.status in ENDED,
        )
        for row in made
    ]  # fmt: skip
    question = asked(org, by)
    assert list(await SeriesStore(clickhouse).points(question)) == expected(samples, question)


async def test_one_workflow_has_its_own_cost_whoever_started_it(clickhouse: ch.ClickHouse) -> None:
    made = runs(random.Random(9), "one", 100)
    await insert(clickhouse, "runs", RUNS, made)
    found = await SeriesStore(clickhouse).points(asked("one", "", "flow_3"))
    assert sum(point.cost_nano for point in found) == sum(row.cost_nano for row in made if row.workflow == "flow_3")


async def test_attempts_are_summed_by_node(clickhouse: ch.ClickHouse) -> None:
    chance = random.Random(3)
    made = [
        StepRow(
            "steps", BEGAN + chance.randrange(6 * HOUR), f"run_{number}", "a", chance.randrange(3), "w",
            node=f"n{chance.randrange(3)}", kind=chance.choice(("llm", "subworkflow")), status=chance.choice(STATUSES),
            duration_ms=float(chance.randrange(999)), cost_nano=chance.randrange(10**9), last_seq=1,
        )
        for number in range(300)
    ]  # fmt: skip
    await insert(clickhouse, "steps", STEPS, made)
    samples: list[Sample] = [
        (
            f"w/{row.node}", row.submitted_at, row.status == "failed",
            0 if row.kind == "subworkflow" else row.cost_nano, 0, row.duration_ms,
            row.status in ("completed", "failed"),
        )
        for row in made if row.attempt
    ]  # fmt: skip
    question = asked("steps", "node")
    assert list(await SeriesStore(clickhouse).points(question)) == expected(samples, question)


async def test_calls_are_summed_by_model(clickhouse: ch.ClickHouse) -> None:
    chance = random.Random(4)
    made = [
        CallRow(
            "AF_EVENTS", number, 0, 1, BEGAN + chance.randrange(6 * HOUR), "calls", "run_1", "w", 1, "a", "a", 1,
            "local", f"m{chance.randrange(15)}", "p@1", chance.random() < 0.9, 0, "", "stop", 5, 6,
            chance.randrange(10**9), chance.randrange(2_000),
        )
        for number in range(500)
    ]  # fmt: skip
    await insert(clickhouse, "llm_calls", CALLS, made)
    samples: list[Sample] = [
        (f"local/{row.model}", row.at, not row.ok, row.cost_nano, 11, float(row.latency_ms), True) for row in made
    ]
    question = asked("calls", "model")
    found = await SeriesStore(clickhouse).points(question)
    assert OTHER in {point.series for point in found} and len({point.series for point in found}) == SERIES_MAX + 1
    assert list(found) == expected(samples, question)
