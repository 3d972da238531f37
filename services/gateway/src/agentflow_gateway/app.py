"""The wiring of the gateway: tables, keys, projection, gRPC server, readiness."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import grpc

from agentflow_common.connections import postgres
from agentflow_common.errors import RetryableError
from agentflow_common.log.blobs import Blobs
from agentflow_common.log.streams import patiently
from agentflow_common.runtime.health_server import Health
from agentflow_common.runtime.service import Context
from agentflow_gateway import keys
from agentflow_gateway.api.door import Door
from agentflow_gateway.backpressure.load_reports import Load
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.grpc_services import registration
from agentflow_gateway.operations import dead_letters, jetstream_metrics
from agentflow_gateway.run_tails import Tails
from agentflow_gateway.runs.projection import ApprovalProjection, Projection
from agentflow_gateway.schedules import wiring as schedule_wiring
from agentflow_gateway.settings import GatewaySettings
from agentflow_gateway.store import changes
from agentflow_gateway.store.tables import SCHEMA, Store
from agentflow_gateway.worker_registry import Registry

RECEIVE_BYTES_MAX: Final = 8 * 1024 * 1024
SEND_BYTES_MAX: Final = 32 * 1024 * 1024
CHECK_EVERY_S: Final = 0.5
START_CHECK_S: Final = 0.02  # until all is well for the first time
START_S_MAX: Final = 10.0


@contextlib.asynccontextmanager
async def app(context: Context[GatewaySettings]) -> AsyncIterator[None]:
    settings = context.settings
    async with keys.opened(settings) as store, contextlib.AsyncExitStack() as stack:
        await keys.ensure_dev_key(store.keys, settings, context.clock.now_ms())
        stack.push_async_callback(_settle, store, settings.shutdown_grace_s)
        connect = functools.partial(postgres.connect_one, settings, SCHEMA)
        listener = changes.Listener(connect, store.memory, store.derived_memory, context.log.last_seq)
        await stack.enter_async_context(context.background(listener.run()))
        load = Load(context.nc, store.runs, settings)
        deps = Deps(
            nc=context.nc,
            log=context.log,
            blobs=Blobs(context.nc),
            store=store,
            load=load,
            clock=context.clock,
            registry=Registry(context.nc),
            tails=Tails(context.log),
            settings=settings,
            secret=await store.keys.secret("submission_digest", secrets.token_bytes(32)),
        )
        context.needs_postgres(store.pool)
        context.needs_log()
        deps.tails.watched(context.probes)
        stack.push_async_callback(deps.tails.stop)
        for kind in (ApprovalProjection, Projection):  # the runs last: an empty list of them makes both start over
            projection = kind(deps)
            await patiently(projection.ensure)
            projection.watched(context.probes)
            await stack.enter_async_context(context.background(projection.run()))
        await stack.enter_async_context(context.background(load.run()))
        await stack.enter_async_context(context.background(dead_letters.watch_number(context.nc)))
        await stack.enter_async_context(context.background(jetstream_metrics.watch(context.nc)))
        http_port = await stack.enter_async_context(schedule_wiring.serving(deps, context))
        context.ports["api_http"] = http_port
        handlers = registration.handlers(f"{settings.api_host}:{http_port}")
        server, health, port = await _serve(deps, handlers)
        context.ports["grpc"] = port
        stack.push_async_callback(server.stop, settings.shutdown_grace_s)
        stack.push_async_callback(health.enter_graceful_shutdown)
        well = asyncio.Event()
        await stack.enter_async_context(context.background(_watch_health(context.health, health, handlers, well)))
        with contextlib.suppress(TimeoutError):  # then /readyz and the health service say what is missing
            async with asyncio.timeout(START_S_MAX):
                await well.wait()
        yield


async def _settle(store: Store, grace_s: float) -> None:
    """Waits a moment for rows that are to be listed soon."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await store.runs.settled()


async def _serve(deps: Deps, handlers: Mapping[str, Any]) -> tuple[Any, Any, int]:
    """Returns (server, health servicer, port). RetryableError if the port is taken."""
    from grpc_health.v1 import health, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection

    settings = deps.settings
    server = grpc.aio.server(
        interceptors=[Door(deps)],
        options=[
            ("grpc.max_receive_message_length", RECEIVE_BYTES_MAX),
            ("grpc.max_send_message_length", SEND_BYTES_MAX),
            ("grpc.so_reuseport", 0),  # a second gateway on the same port must fail, not share it
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ],
    )
    server.add_generic_rpc_handlers(tuple(handlers.values()))
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((*handlers, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    address = f"{settings.api_host}:{settings.api_port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise RetryableError(f"can't listen on {address}: set API_PORT to a free port, or 0") from error
    await server.start()
    return server, checks, port


async def _watch_health(health: Health, servicer: Any, services: Iterable[str], up: asyncio.Event) -> None:
    """Keeps the gRPC health service in step with readiness; `up` is set when all is well for the first time."""
    from grpc_health.v1 import health_pb2

    while True:
        well = health.alive and all(state == "ok" for state in health.parts.values())
        status = health_pb2.HealthCheckResponse.SERVING if well else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *services):
            await servicer.set(name, status)
        if well:
            up.set()
        await asyncio.sleep(CHECK_EVERY_S if up.is_set() else START_CHECK_S)
