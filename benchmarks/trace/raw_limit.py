"""`python -m benchmarks.trace.raw_limit FOLDER MESSAGES`: what ClickHouse takes at best, as JSON on stdout.

The rows of the messages, as Arrow, are inserted into an empty copy of the table `events` of the folder. The settings
and the size of a block are those of the trace service. Blocks are made before the clock starts.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from pathlib import Path
from typing import Any, Final

import clickhouse_connect
import pyarrow as pa  # type: ignore[import-untyped]

from agentflow_common.connections.clickhouse import INSERT_SETTINGS
from agentflow_common.subjects import EVENTS_STREAM
from agentflow_trace import rows
from agentflow_trace.settings import TraceSettings

_TYPES: Final = {
    "String": pa.string(), "UInt64": pa.uint64(), "UInt32": pa.uint32(), "Int64": pa.int64(), "Float64": pa.float64(),
    "Bool": pa.bool_(), "DateTime64(3, 'UTC')": pa.timestamp("ms", "UTC"),
    "Map(String, UInt64)": pa.map_(pa.string(), pa.uint64()),
}  # fmt: skip


def arrow(batch: list[rows.Row]) -> Any:
    """Returns rows as an Arrow stream in memory."""
    columns = []
    for kind, values in zip(rows.COLUMNS.values(), rows.columns(batch), strict=True):
        plain = [list(value.items()) for value in values] if kind.startswith("Map") else values
        columns.append(pa.array(plain, type=_TYPES[kind]))
    table = pa.table(columns, names=list(rows.COLUMNS))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def main(folder: str, messages: str) -> None:
    found: list[rows.Row] = []
    for seq, (subject, data, ts) in enumerate(pickle.loads(Path(messages).read_bytes()), 1):
        found += rows.singly(rows.of(EVENTS_STREAM, subject, data, seq, ts), data)
    size = TraceSettings().trace_batch_rows
    blocks = [arrow(found[start : start + size]) for start in range(0, len(found), size)]
    client: Any = clickhouse_connect.get_client(interface="chdb", path=folder)
    client.database = TraceSettings().clickhouse_database
    events = len({row.stream_seq for row in found})
    client.command("OPTIMIZE TABLE events FINAL")
    (stored,) = client.query(
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE table = 'events' AND active"
    ).result_rows
    client.command("CREATE TABLE raw_limit AS events")
    began = time.perf_counter()
    for block in blocks:
        client.raw_insert("raw_limit", list(rows.COLUMNS), block, settings=INSERT_SETTINGS, fmt="ArrowStream")
    seconds = time.perf_counter() - began
    client.close()
    print(json.dumps([events / seconds, stored[0] / events]))


if __name__ == "__main__":
    main(*sys.argv[1:])
