"""The wiring: ClickHouse, one ingestion per stream, the verbs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from agentflow_common import package_files, subjects
from agentflow_common.connections import clickhouse as ch
from agentflow_common.runtime.service import Context
from agentflow_trace.derive.loop import Derive
from agentflow_trace.derive.rebuilding import Rebuilding, Work
from agentflow_trace.derive.store import DeriveStore
from agentflow_trace.derive.store_expiry import ExpiryStore
from agentflow_trace.diff.handlers import DiffHandlers
from agentflow_trace.diff.store_groups import GroupStore
from agentflow_trace.explain.handlers import ExplainHandlers
from agentflow_trace.explain.measures.store_history import HistoryStore
from agentflow_trace.handlers import Handlers
from agentflow_trace.ingest import Ingest
from agentflow_trace.otel import sending
from agentflow_trace.otel.handlers import RunSpans, SpanHandlers
from agentflow_trace.otel.live import LiveExport
from agentflow_trace.query.handlers import QueryHandlers
from agentflow_trace.query.store import QueryStore
from agentflow_trace.retention import Retention
from agentflow_trace.series.handlers import SeriesHandlers
from agentflow_trace.series.store_series import SeriesStore
from agentflow_trace.settings import TraceSettings
from agentflow_trace.store import Store
from agentflow_trace.store_archive import ArchiveStore

STREAMS: Final = (subjects.EVENTS_STREAM, subjects.COST_STREAM, subjects.AUDIT_STREAM)


@contextlib.asynccontextmanager
async def app(context: Context[TraceSettings], preloaded: ch.ClickHouse | None = None) -> AsyncIterator[None]:
    """Answers at once, and is ready when ClickHouse is open.

    preloaded: a client whose engine is already being loaded.
    """
    clickhouse = preloaded or ch.ClickHouse(context.settings, session="agentflow-trace")
    clickhouse.preload()
    store = Store(clickhouse)
    archive = ArchiveStore(clickhouse)
    streams = [
        Ingest(stream, context.log, store, context.settings, context.health.set_part, archive) for stream in STREAMS
    ]
    expiry = ExpiryStore(clickhouse)
    derive = Derive(DeriveStore(clickhouse), streams[0], context.health.set_part)
    streams[0].feed = derive.feed
    retention = Retention(context.log, archive, streams, context.settings, context.clock)
    run_spans = RunSpans(store, streams[0], context.settings)
    receivers = sending.receivers_of(context.settings.trace_export, context.settings.trace_export_headers)
    export = LiveExport(context.log, receivers, run_spans.exported)
    work = Work(context.guarded, [*(ingest.run for ingest in streams), derive.run, retention.run, export.run])
    rebuilding = Rebuilding(streams, derive, work, context.log)
    handlers = Handlers(store, streams, archive, retention, derive, rebuilding)
    explain = ExplainHandlers(store, HistoryStore(clickhouse), handlers.ready)
    queries = QueryHandlers(QueryStore(clickhouse), derive, streams[0], handlers.open)
    series = SeriesHandlers(SeriesStore(clickhouse), handlers.open)
    spans = SpanHandlers(run_spans, handlers.open)
    diff = DiffHandlers(store, GroupStore(clickhouse), streams[0], derive, handlers.ready)
    context.health.set_part("clickhouse", "opening")
    try:
        verbs = (handlers, explain, queries, series, diff, spans)
        async with context.serving([route for owner in verbs for route in owner.routes()]):
            await clickhouse.open()
            await ch.migrate(clickhouse, package_files.find(__file__, "migrations"))
            await expiry.apply(context.settings.trace_bodies_days, context.settings.trace_derived_days)
            for ingest in streams:
                await ingest.prepare()
            await retention.begin(streams[0].held_at_start)
            await derive.prepare()
            context.probes.add("clickhouse", clickhouse.probe, "ClickHouse does not answer")
            handlers.opened.set()
            work.begin()
            yield
    finally:
        await rebuilding.stop()
        await work.stop()
        await clickhouse.close()
