"""Questions to ten million events, as p95 of warm answers.

The service writes a log and derives its tables. ClickHouse then copies their rows with other run ids, times and
sequences. The copies have the words of their originals, so a word is as frequent among many events as among few.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import clickhouse_connect
import msgspec

from agentflow_trace import rows
from agentflow_trace.settings import TraceSettings
from benchmarks.output import Emit
from benchmarks.trace.ingest import EVENTS, FIRST_MS, stack
from benchmarks.trace.shapes import Copies, messages, shapes

EVENTS_TOTAL: Final = 10_000_000
ASKED: Final = 100
DAY_MS: Final = 86_400_000
TABLES: Final = {
    "events": "stream_seq", "runs": "last_seq", "steps": "last_seq", "costs": "stream_seq", "llm_calls": "stream_seq",
}  # fmt: skip
_TIMES: Final = ("ts", "at", "stored_at", "submitted_at", "finished_at", "scheduled_at")
_RUNS: Final = """
SELECT run, workflow, status, submitted_at, duration_ms, cost_nano FROM runs FINAL
WHERE org = {org:String} AND submitted_at >= {after:DateTime64(3)} AND status = {status:String}
    AND cost_nano >= {cost:Int64}
ORDER BY submitted_at DESC LIMIT 50
"""
_COSTS: Final = """
SELECT toDate(at) AS day, model, sum(cost_nano) FROM costs WHERE org = {org:String}
GROUP BY day, model ORDER BY day, model
"""
_TEXT: Final = """
SELECT run, stream_seq, step, type FROM events WHERE org = {org:String} AND hasAllTokens(text, {words:String})
ORDER BY stream_seq DESC LIMIT 50
"""
_RUN: Final = """
SELECT * FROM events WHERE org = {org:String} AND run = {run:String} ORDER BY stream != 'AF_EVENTS', stream, stream_seq
"""


async def run(emit: Emit, _options: object) -> None:
    """Measures trace.query.<name>.p95_ms, and the size of all tables for each event."""
    found = await asyncio.to_thread(shapes)
    copies = Copies(found, 3, FIRST_MS, 20_000)
    async with stack() as trace:
        made = list(messages(copies, EVENTS))
        await trace.publish(made)
        await trace.start()
        while (await trace.counts()).derived_seq < len(made):
            await asyncio.sleep(0.5)
        trace.stop()
        command = [sys.executable, "-m", "benchmarks.trace.queries", str(trace.folder / "clickhouse"), str(len(made))]
        done = await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.PIPE)
    figures = msgspec.json.decode(done.stdout)
    for name, value in figures.pop("p95_ms").items():
        emit(f"trace.query.{name}.p95_ms", value, "ms", ASKED, "default", events=figures["events"])
    emit("trace.query.bytes_per_event", figures["bytes"], "bytes", 1, "default", **figures["tables"])


def main(folder: str, events: str) -> None:
    """Copies the rows, asks, and prints the figures as JSON."""
    client: Any = clickhouse_connect.get_client(interface="chdb", path=folder)
    client.database = TraceSettings().clickhouse_database
    times = -(-EVENTS_TOTAL // int(events)) - 1
    for number in range(1, times + 1):
        _copy(client, number, int(events))
        print(f"{(number + 1) * int(events):,} events", file=sys.stderr)
    for table in TABLES:
        client.command(f"OPTIMIZE TABLE {table} FINAL")
    (total,) = client.query("SELECT uniqExact(stream_seq) FROM events").result_rows[0]
    sizes = dict(
        client.query(
            "SELECT table, sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() "
            "GROUP BY table"
        ).result_rows
    )
    chance = random.Random(7)
    known = client.query("SELECT org, run FROM events WHERE type = 'run.submitted' ORDER BY cityHash64(run) LIMIT 1000")
    words = [word for text in _outputs(client) for word in text.split() if word.isalpha()]

    def ask(sql: str, given: Callable[[], dict[str, Any]]) -> float:
        spent = []
        for _ in range(ASKED + 5):
            values = given()
            began = time.perf_counter()
            client.query(sql, values)
            spent.append(1000 * (time.perf_counter() - began))
        return sorted(spent[5:])[ASKED * 95 // 100]

    orgs = ("acme", "beta", "gamma")
    p95 = {
        "one_trace": ask(_RUN, lambda: dict(zip(("org", "run"), chance.choice(known.result_rows), strict=True))),
        "list": ask(
            _RUNS,
            lambda: {
                "org": chance.choice(orgs),
                "status": chance.choice(("completed", "failed")),
                "cost": chance.choice((0, 10**6)),
                "after": (FIRST_MS + chance.randrange(300) * DAY_MS) / 1000,
            },
        ),
        "cost_by_model_and_day": ask(_COSTS, lambda: {"org": chance.choice(orgs)}),
        "text": ask(_TEXT, lambda: {"org": chance.choice(orgs), "words": chance.choice(words)}),
        "text_rare": ask(_TEXT, lambda: {"org": "acme", "words": "zirconium"}),
    }  # fmt: skip
    client.close()
    tables = {name: round(size / total, 2) for name, size in sizes.items() if size / total > 0.01}
    print(json.dumps({"p95_ms": p95, "events": total, "bytes": sizes["events"] / total, "tables": tables}))


def _outputs(client: Any) -> list[str]:
    found = client.query(
        "SELECT text FROM events WHERE type = 'step.completed' AND kind != 'x' LIMIT 1 BY step LIMIT 200"
    )
    return [str(text) for (text,) in found.result_rows]


def _copy(client: Any, number: int, events: int) -> None:
    """Copies the rows of the first log: behind it, a day later for each copy, with another letter in their run ids."""
    letter = "".join(itertools.islice(f"{number:x}zz", 2))
    run = f"concat('run_{letter}', substring(run, 7))"
    shift = number * events
    later = "addMilliseconds({}, " + str(number * DAY_MS // 2) + ")"
    changes = {
        "stream_seq": f"stream_seq + {shift}", "seen": f"if(seen = 0, 0, seen + {shift})", "run": run,
        "subject": f"replaceAll(subject, run, {run})", "body": f"replaceAll(body, run, {run})",
        "last_seq": f"last_seq + {shift}", "submitted_seq": f"submitted_seq + {shift}",
        **{name: later.format(name) for name in _TIMES},
    }  # fmt: skip
    for table, key in TABLES.items():
        found = client.query(
            "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String} "
            "AND default_kind = ''",
            {"table": table},
        )
        names = [str(name) for (name,) in found.result_rows]
        shown = ", ".join(f"{changes.get(name, name)} AS new_{name}" for name in names)
        client.command(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {shown} FROM {table} WHERE {key} <= {events} "
            f"SETTINGS min_insert_block_size_rows = {rows.PARTITION_ROWS // 10}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
