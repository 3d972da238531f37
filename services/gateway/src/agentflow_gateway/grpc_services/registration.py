"""Registers the gRPC services: every method that the protobuf files declare is served by the class of its service."""

from __future__ import annotations

from typing import Any, Final

import grpc
from google.protobuf import message_factory

from agentflow.v1 import (
    admin_pb2,
    audit_pb2,
    budget_pb2,
    control_pb2,
    prompt_pb2,
    schedule_pb2,
    tool_pb2,
    trace_pb2,
    workflow_pb2,
)
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

SERVICES: Final[dict[str, Any]] = {
    service.full_name: service
    for module in (
        workflow_pb2,
        control_pb2,
        prompt_pb2,
        budget_pb2,
        trace_pb2,
        admin_pb2,
        schedule_pb2,
        tool_pb2,
        audit_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
}


def handlers(http: str) -> list[Any]:
    """Returns the handlers of all services. http: where webhooks are served, `host:port`."""
    servicers = {
        "WorkflowService": WorkflowService(),
        "RunControlService": RunControlService(),
        "LaneService": LaneService(),
        "VersionService": VersionService(),
        "PromptService": PromptService(),
        "BudgetService": BudgetService(),
        "TraceService": TraceService(),
        "AdminService": AdminService(),
        "ScheduleService": ScheduleService(http),
        "AuditService": AuditService(),
        "ToolService": ToolService(),
    }
    return [_handler(service, servicers[service.name]) for service in SERVICES.values()]


def _handler(service: Any, servicer: Any) -> Any:
    methods = {}
    for method in service.methods:
        kind = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
        methods[method.name] = kind(
            getattr(servicer, method.name),
            message_factory.GetMessageClass(method.input_type).FromString,
            message_factory.GetMessageClass(method.output_type).SerializeToString,
        )
    return grpc.method_handlers_generic_handler(service.full_name, methods)
