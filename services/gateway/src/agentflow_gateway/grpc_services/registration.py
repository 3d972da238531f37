"""Registers the gRPC services: a servicer serves every method that the protobuf files declare for its service."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory

from agentflow_gateway.grpc_services.admin_service import AdminService
from agentflow_gateway.grpc_services.audit_service import AuditService
from agentflow_gateway.grpc_services.budget_service import BudgetService
from agentflow_gateway.grpc_services.control_service import RunControlService
from agentflow_gateway.grpc_services.lane_service import LaneService
from agentflow_gateway.grpc_services.prompt_service import PromptService
from agentflow_gateway.grpc_services.schedule_service import ScheduleService
from agentflow_gateway.grpc_services.tool_service import ToolService
from agentflow_gateway.grpc_services.trace_service import TraceService
from agentflow_gateway.grpc_services.version_service import VersionService
from agentflow_gateway.grpc_services.workflow_service import WorkflowService


def handlers(http: str) -> dict[str, Any]:
    """Returns the handler of each service by its full name. http: where webhooks are served, `host:port`."""
    servicers = (
        WorkflowService(),
        RunControlService(),
        LaneService(),
        VersionService(),
        PromptService(),
        BudgetService(),
        TraceService(),
        AdminService(),
        ScheduleService(http),
        AuditService(),
        ToolService(),
    )
    return {f"agentflow.v1.{type(servicer).__name__}": _handler(servicer) for servicer in servicers}


def _handler(servicer: Any) -> Any:
    service = descriptor_pool.Default().FindServiceByName(f"agentflow.v1.{type(servicer).__name__}")
    methods = {}
    for method in service.methods:
        kind = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
        methods[method.name] = kind(
            getattr(servicer, method.name),
            message_factory.GetMessageClass(method.input_type).FromString,
            message_factory.GetMessageClass(method.output_type).SerializeToString,
        )
    return grpc.method_handlers_generic_handler(service.full_name, methods)
