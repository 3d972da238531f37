"""The trace service as a process on a real nats-server: how fast it reads a log, and how far behind the log it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from nats.aio.client import Client

from agentflow_common import rpc, subjects
from agentflow_common.connections.nats_client import connect
from agentflow_common.embedded import processes
from agentflow_common.embedded.nats import NatsServer
from agentflow_common.errors import AgentFlowError
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.log.streams import ensure_streams
from agentflow_common.rpc import bus
from benchmarks.output import Emit
from benchmarks.trace.shapes import Copies, Made, messages, shapes

EVENTS: Final = 400_000
ROUNDS: Final = 3
EDGE: Final = 0.1  # of the events at the begin and the end, which are not measured
READY_S_MAX: Final = 60.0
BATCH: Final = 500  # publishes in flight
FRESH_RATE: Final = 2_000
FRESH_S: Final = 20.0
FIRST_MS: Final = 1_764_000_000_000


class Trace:
    """The service as a child process, and its log."""

    def __init__(self, nc: Client, folder: Path, url: str) -> None:
        self.nc = nc
        self.log = EventLog(nc)
        self.folder = folder
        self._run_dir = folder / "run"
        self._env = {
            **os.environ, "NATS_URL": url, "CLICKHOUSE_PATH": str(folder / "clickhouse"),
            "AGENTFLOW_RUN_DIR": str(self._run_dir), "LOG_LEVEL": "WARNING", "RETENTION_HOURS": "0",
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    async def publish(self, made: Sequence[Made]) -> int:
        """Appends in order. Returns the last sequence."""
        last = 0
        for start in range(0, len(made), BATCH):
            futures = [await self.log.publish(Entry(one.subject, one.data)) for one in made[start : start + BATCH]]
            last = (await asyncio.gather(*futures))[-1].seq
        return last

    async def start(self) -> None:
        """Starts the service and waits until it is ready."""
        (self._run_dir / "trace.json").unlink(missing_ok=True)
        self.process = processes.spawn([sys.executable, "-m", "agentflow_trace"], env=self._env, output=2)
        deadline = time.monotonic() + READY_S_MAX
        while time.monotonic() < deadline:
            with contextlib.suppress(AgentFlowError):
                await self.counts()
                return
            await asyncio.sleep(0.05)
        raise RuntimeError(f"the trace service was not ready in {READY_S_MAX:g} s")

    def stop(self) -> None:
        if self.process is not None:
            processes.stop(self.process)
            self.process = None

    async def counts(self) -> rpc.TraceCountsReply:
        reply: rpc.TraceCountsReply = await bus.call(
            self.nc, rpc.TRACE_COUNTS, rpc.TraceCountsRequest(subjects.EVENTS_STREAM)
        )
        return reply

    def written(self) -> int:
        """Returns how many rows of events the process has written since its start, from its metrics."""
        port = msgspec.json.decode((self._run_dir / "trace.json").read_bytes())["ports"]["http"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith('trace_rows_total{stream="AF_EVENTS"}'):
                    return int(float(line.rsplit(" ", 1)[1]))
        return 0

    def cpu_s(self) -> float:
        """Returns the processor seconds of the process."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.asynccontextmanager
async def stack() -> AsyncIterator[Trace]:
    """Yields a fresh log and its service, which is started by `start`."""
    with (
        tempfile.TemporaryDirectory(prefix="agentflow-bench-") as name,
        NatsServer(Path(name) / "nats") as server,
    ):
        nc = await connect(server.url, "benchmark")
        await ensure_streams(nc)
        trace = Trace(nc, Path(name), server.url)
        await trace.log.start()
        try:
            yield trace
        finally:
            trace.stop()
            await nc.close()


async def run(emit: Emit, _options: object) -> None:
    """Measures trace.ingest.events_per_s beside trace.ingest.raw_limit_events_per_s, and trace.bytes_per_event."""
    found = await asyncio.to_thread(shapes)
    made = list(messages(Copies(found, 1, FIRST_MS, 20_000), EVENTS))
    size = round(sum(len(one.data) for one in made) / len(made))
    rates, limits, cpu = [], [], []
    async with stack() as trace:
        began = time.perf_counter()
        await trace.publish(made)
        print(f"{len(made):,} events published in {time.perf_counter() - began:.1f} s", file=sys.stderr)
        for number in range(ROUNDS):
            rate, cpu_us = await _catch_up(trace, len(made))
            counts = await trace.counts()
            if not counts.rows == counts.distinct == len(made):
                raise RuntimeError(f"of {len(made):,} events {counts.rows:,} are there, {counts.distinct:,} distinct")
            trace.stop()
            limit, bytes_ = await asyncio.to_thread(raw, trace.folder / "clickhouse", made)
            shutil.rmtree(trace.folder / "clickhouse")  # so that the next round reads the whole log again
            rates.append(rate)
            limits.append(limit)
            cpu.append(cpu_us)
            print(f"ingest round {number + 1}/{ROUNDS}: {rate:,.0f} events/s, raw {limit:,.0f}", file=sys.stderr)
        share = statistics.median(rate / limit for rate, limit in zip(rates, limits, strict=True))
        emit(
            "trace.ingest.events_per_s", statistics.median(rates), "events/s", ROUNDS, "default", events=len(made),
            bytes_of_event=size, service_cpu_us_per_event=round(statistics.median(cpu), 1), share_of_raw_limit=share,
        )  # fmt: skip
        emit("trace.ingest.raw_limit_events_per_s", statistics.median(limits), "events/s", ROUNDS, "default")
        emit("trace.bytes_per_event", bytes_, "bytes", 1, "default", events=len(made), bytes_of_event=size)


def raw(folder: Path, made: Sequence[Made]) -> tuple[float, float]:
    """Returns (rows a second of Arrow blocks that are inserted into the table, bytes of an event on disk).

    The table is the one that the service has filled: its columns, codecs and indexes. In a process of its own, because
    a process has one engine for its life.
    """
    with tempfile.NamedTemporaryFile(suffix=".pickle") as file:
        file.write(pickle.dumps([tuple(one) for one in made]))
        file.flush()
        command = [sys.executable, "-m", "benchmarks.trace.raw_limit", str(folder), file.name]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    rate, size = msgspec.json.decode(found.stdout, type=tuple[float, float])
    return rate, size


async def freshness(emit: Emit, _options: object) -> None:
    """Measures trace.freshness_p99_ms: from the publish of an event to the end of its insert."""
    found = await asyncio.to_thread(shapes)
    copies = messages(Copies(found, 2, FIRST_MS, 20_000), int(FRESH_RATE * FRESH_S))
    made = [one for one in copies if b'"before":' not in one.data]  # one row each
    published: list[float] = []
    async with stack() as trace:
        await trace.start()
        rows = await asyncio.to_thread(trace.written)
        writing = asyncio.create_task(_steadily(trace, made, published))
        times: list[float] = []
        while len(times) < len(made):
            written, now = await asyncio.to_thread(trace.written) - rows, time.perf_counter()
            times += [1000 * (now - at) for at in published[len(times) : written]]
            await asyncio.sleep(0.01)
        await writing
    times.sort()
    emit(
        "trace.freshness_p99_ms", times[len(times) * 99 // 100], "ms", len(times), "default",
        p50=round(statistics.median(times), 1), events_per_s=FRESH_RATE,
    )  # fmt: skip


async def _steadily(trace: Trace, made: Sequence[Made], published: list[float]) -> None:
    """Publishes FRESH_RATE events a second, 20 at a time, and notes when."""
    began = time.perf_counter()
    for start in range(0, len(made), 20):
        await asyncio.sleep(max(0.0, began + start / FRESH_RATE - time.perf_counter()))
        published += [time.perf_counter()] * len(made[start : start + 20])
        await trace.publish(made[start : start + 20])


async def _catch_up(trace: Trace, count: int) -> tuple[float, float]:
    """Returns events a second, and processor time of the service in microseconds an event.

    The rows written are watched: a message that reports several steps has a row for each.
    """
    await trace.start()
    points: list[tuple[int, float, float]] = []
    while not points or points[-1][0] < (1 - EDGE) * count:
        points.append((await asyncio.to_thread(trace.written), time.perf_counter(), trace.cpu_s()))
        await asyncio.sleep(0.05)
    while (await trace.counts()).last_seq < count:
        await asyncio.sleep(0.1)
    rows = await asyncio.to_thread(trace.written)
    low, high = next(point for point in points if point[0] >= EDGE * count), points[-1]
    events = (high[0] - low[0]) * count / rows
    return events / (high[1] - low[1]), 1e6 * (high[2] - low[2]) / events
