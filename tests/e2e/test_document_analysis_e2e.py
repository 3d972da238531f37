"""The first promise: a real document is read, analysed, paid for and traced, and nothing private of it is stored."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.paths import EXAMPLES

from .conftest import Platform, buckets_in, options
from .searching import every_message, files_holding, found_in, needles

if TYPE_CHECKING:
    from agentflow_sdk import Run

pytestmark = pytest.mark.e2e

FLOW = (EXAMPLES / "document_analysis.yaml").read_text()


@pytest.fixture(scope="module")
def analysed(platform: Platform) -> Run:
    with platform.client() as client:
        return client.workflows.run(FLOW, {"document_key": "vendor_review.md"}, timeout=180)


def test_the_document_is_analysed_and_accounted_for(analysed: Run, planted: dict[str, list[str]]) -> None:
    output = analysed.output
    assert output["document"] == "vendor_review.md"
    assert output["kind"] == "incident report"
    assert len(output["summary"]) > 300
    assert "outage" in output["summary"]
    assert len(output["keywords"]) >= 5
    assert analysed.cost_nano_usd > 0
    assert analysed.input_tokens > 1000
    assert analysed.output_tokens > 0
    for category, values in planted.items():
        assert analysed.redactions[category] >= len(values), category
    steps = {step.step: step for step in analysed.steps}
    assert set(steps) == {"ingest", "classify", "keywords", "analyze"}
    assert all(step.status == "completed" and step.attempt == 1 for step in steps.values())
    assert sum(step.cost_nano_usd for step in steps.values()) == analysed.cost_nano_usd
    assert steps["analyze"].prompt == "document_analyzer@1"


def test_what_is_harmless_survives(analysed: Run, planted: dict[str, list[str]], kept: list[str]) -> None:
    text = analysed.step("ingest").output["text"]
    assert not found_in(text.encode(), needles(v for values in planted.values() for v in values))
    for value in kept:
        assert value in text, f"{value} was taken for something private"


def test_the_trace_holds_every_step_with_its_cost(platform: Platform, analysed: Run) -> None:
    with platform.client() as client:
        trace = client.traces.get(analysed.run_id)
    assert trace.status == "completed"
    assert {step.step for step in trace.steps} == {"ingest", "classify", "keywords", "analyze"}
    assert trace.cost_nano_usd == analysed.cost_nano_usd
    types = [event.type for event in trace.events]
    assert types.count("step.scheduled") == types.count("step.completed") == 4
    assert types.count("run.submitted") == types.count("run.completed") == 1


def test_only_who_holds_the_permission_sees_the_originals(
    platform: Platform, analysed: Run, planted: dict[str, list[str]]
) -> None:
    from agentflow_sdk import PermissionDeniedError

    before = asyncio.run(_audits(platform, analysed.run_id))
    with platform.client(platform.make_key("read,write,admin")) as stranger:
        with pytest.raises(PermissionDeniedError, match="reveal"):
            stranger.workflows.get(analysed.run_id, reveal=True, reason="curiosity")
        plain = json.dumps(stranger.workflows.get(analysed.run_id).to_dict()).encode()
    assert not found_in(plain, needles(v for values in planted.values() for v in values))
    done = platform.cli("workflow", "get", analysed.run_id, "--reveal", "--reason", "complaint 7", "-o", "json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    (text,) = [step["output"]["text"] for step in shown["steps"] if step["step"] == "ingest"]
    assert text == (EXAMPLES / "data" / "vendor_review.md").read_text()
    restored = [audit for audit in asyncio.run(_audits(platform, analysed.run_id)) if audit not in before]
    (audit,) = [item for item in restored if item["action"] == "restore"]
    assert audit["actor"]
    assert audit["reason"] == "complaint 7"


async def _audits(platform: Platform, run_id: str) -> list[dict[str, Any]]:
    messages = await every_message(platform.stack.nats_url)
    bodies = [
        json.JSONDecoder().raw_decode(data.decode())[0] for stream, _, _, data in messages if stream == "AF_AUDIT"
    ]
    return [body for body in bodies if body["run"] == run_id]


def test_nothing_private_is_stored_anywhere(tmp_path: Path, planted: dict[str, list[str]]) -> None:
    """A stack of its own, so that nothing else stands in its files and ClickHouse can be opened after it."""
    from tests.support.stack import running_stack

    wanted = needles(value for values in planted.values() for value in values)
    buckets = buckets_in(tmp_path)
    folder = tmp_path / "data"
    with running_stack(folder, **options(buckets)) as stack:
        with Platform(stack, buckets).client() as client:
            for document in ("vendor_review.md", "vendor_review.pdf"):
                client.workflows.run(FLOW, {"document_key": document}, timeout=180)
            content = (EXAMPLES / "data" / "vendor_review.md").read_text()
            echo = (EXAMPLES / "conditional.yaml").read_text()
            run = client.workflows.run(echo, {"content": content[:20_000]}, timeout=180)
            client.traces.get(run.run_id)
        messages = asyncio.run(every_message(stack.nats_url))
        streams = {stream for stream, _, _, _ in messages}
        assert {"AF_EVENTS", "AF_COST", "AF_AUDIT"} <= streams
        leaks = [(stream, seq, subject, found_in(data, wanted)) for stream, seq, subject, data in messages]
        assert [leak for leak in leaks if leak[3]] == []
    data = stack.data_dir
    rows = clickhouse_rows(data / "clickhouse")
    assert rows.count(b"step.completed") >= 8
    assert found_in(rows, wanted) == set()
    # everything on the disk: JetStream's files, object store, PostgreSQL with the vault, ClickHouse, all logs
    assert (data / "logs").is_dir()
    assert files_holding(data, wanted) == {}


_DUMP = """
import sys
from chdb import session
db = session.Session(sys.argv[1])
tables = str(db.query("SELECT database, name FROM system.tables WHERE database NOT IN "
    "('system', 'INFORMATION_SCHEMA', 'information_schema') AND engine LIKE '%MergeTree%'", "TSV")).split()
assert tables, "no tables"
for database, name in zip(tables[::2], tables[1::2]):
    sys.stdout.write(str(db.query(f"SELECT * FROM `{database}`.`{name}`", "JSONEachRow")))
"""


def clickhouse_rows(folder: Path) -> bytes:
    """Every row of every table, read in a process of its own: chDB opens one folder in a process."""
    done = subprocess.run([sys.executable, "-c", _DUMP, str(folder)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
