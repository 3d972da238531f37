"""The wiring of the gateway: tables, keys, projection, gRPC server, readiness."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from agentflow.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    budget_pb2,
    budget_pb2_grpc,
    control_pb2,
    control_pb2_grpc,
    prompt_pb2,
    prompt_pb2_grpc,
    schedule_pb2,
    schedule_pb2_grpc,
    tool_pb2,
    tool_pb2_grpc,
    trace_pb2,
    trace_pb2_grpc,
    workflow_pb2,
    workflow_pb2_grpc,
)
from agentflow_common.errors import RetryableError
from agentflow_common.log.blobs import Blobs
from agentflow_common.log.streams import patiently
from agentflow_common.runtime.health_server import Health
from agentflow_common.runtime.service import Context
from agentflow_gateway import keys
from agentflow_gateway.api.auth import Authenticator
from agentflow_gateway.api.door import Door
from agentflow_gateway.backpressure.load_reports import Load
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.grpc_services.admin_service import AdminService
from agentflow_gateway.grpc_services.audit_service import AuditService
from agentflow_gateway.grpc_services.budget_service import BudgetService
from agentflow_gateway.grpc_services.control_service import RunControlService
from agentflow_gateway.grpc_services.lane_service import LaneService, VersionService
from agentflow_gateway.grpc_services.prompt_service import PromptService
from agentflow_gateway.grpc_services.schedule_service import ScheduleService
from agentflow_gateway.grpc_services.tool_service import ToolService
from agentflow_gateway.grpc_services.trace_service import TraceService
from agentflow_gateway.grpc_services.workflow_service import WorkflowService
from agentflow_gateway.operations import dead_letters
from agentflow_gateway.runs.projection import ApprovalProjection, Projection
from agentflow_gateway.runs.watch import Watchers
from agentflow_gateway.schedules import wiring as schedule_wiring
from agentflow_gateway.settings import GatewaySettings
from agentflow_gateway.store.approvals import ApprovalStore
from agentflow_gateway.store.schedules import ScheduleStore
from agentflow_gateway.store.versions import VersionStore
from agentflow_gateway.worker_registry import Registry

RECEIVE_BYTES_MAX: Final = 8 * 1024 * 1024
SEND_BYTES_MAX: Final = 32 * 1024 * 1024
CHECK_EVERY_S: Final = 0.5
START_CHECK_S: Final = 0.02  # until all is well for the first time
START_S_MAX: Final = 10.0
MODULES: Final = (
    workflow_pb2, control_pb2, prompt_pb2, budget_pb2, trace_pb2, admin_pb2, schedule_pb2, tool_pb2, audit_pb2,
)  # fmt: skip
SERVICES: Final = tuple(
    service.full_name for module in MODULES for service in module.DESCRIPTOR.services_by_name.values()
)


@contextlib.asynccontextmanager
async def app(context: Context[GatewaySettings]) -> AsyncIterator[None]:
    settings = context.settings
    async with keys.opened(settings) as store, contextlib.AsyncExitStack() as stack:
        await keys.ensure_dev_key(store, settings, context.clock.now_ms())
        load = Load(context.nc, store, settings)
        deps = Deps(
            nc=context.nc,
            log=context.log,
            blobs=Blobs(context.nc),
            store=store,
            versions=VersionStore(store.pool),
            approvals=ApprovalStore(store.pool),
            load=load,
            clock=context.clock,
            registry=Registry(context.nc),
            settings=settings,
            secret=await store.secret("submission_digest", secrets.token_bytes(32)),
            schedules=ScheduleStore(store.pool),
        )
        context.needs_postgres(store.pool)
        context.needs_log()
        for kind in (ApprovalProjection, Projection):  # the runs last: an empty list of them makes both start over
            projection = kind(deps)
            await patiently(projection.ensure)
            projection.watched(context.probes)
            await stack.enter_async_context(context.background(projection.run()))
        await stack.enter_async_context(context.background(load.run()))
        await stack.enter_async_context(context.background(dead_letters.watch_held(context.nc)))
        http_port = await stack.enter_async_context(schedule_wiring.serving(deps, context))
        context.ports["api_http"] = http_port
        server, health, port = await _serve(deps, f"{settings.api_host}:{http_port}")
        context.ports["grpc"] = port
        stack.push_async_callback(server.stop, settings.shutdown_grace_s)
        stack.push_async_callback(health.enter_graceful_shutdown)
        well = asyncio.Event()
        await stack.enter_async_context(context.background(_watch_health(context.health, health, well)))
        with contextlib.suppress(TimeoutError):  # then /readyz and the health service say what is missing
            async with asyncio.timeout(START_S_MAX):
                await well.wait()
        yield


async def _serve(deps: Deps, http: str) -> tuple[Any, Any, int]:
    """(server, health servicer, port). RetryableError if the port is taken."""
    from grpc_health.v1 import health, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection

    settings = deps.settings
    server = grpc.aio.server(
        interceptors=[Door(Authenticator(deps.store, settings.key_cache_s), settings.calls_active_max)],
        options=[
            ("grpc.max_receive_message_length", RECEIVE_BYTES_MAX),
            ("grpc.max_send_message_length", SEND_BYTES_MAX),
            ("grpc.so_reuseport", 0),  # a second gateway on the same port must fail, not share it
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ],
    )
    watchers = Watchers(deps)
    registrations: tuple[tuple[Any, Any], ...] = (
        (workflow_pb2_grpc.add_WorkflowServiceServicer_to_server, WorkflowService(deps, watchers)),
        (control_pb2_grpc.add_RunControlServiceServicer_to_server, RunControlService(deps)),
        (control_pb2_grpc.add_LaneServiceServicer_to_server, LaneService(deps)),
        (control_pb2_grpc.add_VersionServiceServicer_to_server, VersionService(deps)),
        (prompt_pb2_grpc.add_PromptServiceServicer_to_server, PromptService(deps)),
        (budget_pb2_grpc.add_BudgetServiceServicer_to_server, BudgetService(deps)),
        (trace_pb2_grpc.add_TraceServiceServicer_to_server, TraceService(deps)),
        (admin_pb2_grpc.add_AdminServiceServicer_to_server, AdminService(deps)),
        (schedule_pb2_grpc.add_ScheduleServiceServicer_to_server, ScheduleService(deps, http)),
        (audit_pb2_grpc.add_AuditServiceServicer_to_server, AuditService(deps)),
        (tool_pb2_grpc.add_ToolServiceServicer_to_server, ToolService(deps)),
    )
    for add, servicer in registrations:
        add(servicer, server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    address = f"{settings.api_host}:{settings.api_port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise RetryableError(f"can't listen on {address}: set API_PORT to a free port, or 0") from error
    await server.start()
    return server, checks, port


async def _watch_health(health: Health, servicer: Any, up: asyncio.Event) -> None:
    """Keeps the gRPC health service in step with readiness; `up`: all is well for the first time."""
    from grpc_health.v1 import health_pb2

    while True:
        well = health.alive and all(state == "ok" for state in health.parts.values())
        status = health_pb2.HealthCheckResponse.SERVING if well else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):
            await servicer.set(name, status)
        if well:
            up.set()
        await asyncio.sleep(CHECK_EVERY_S if up.is_set() else START_CHECK_S)
