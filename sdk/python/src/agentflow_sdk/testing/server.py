"""The fake server: its services on a real gRPC server, over one state."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc

from agentflow.v1 import budget_pb2_grpc, control_pb2_grpc, prompt_pb2_grpc, trace_pb2_grpc, workflow_pb2_grpc
from agentflow_sdk.testing.controls import Controls
from agentflow_sdk.testing.services import Budgets, Prompts, Traces, Workflows
from agentflow_sdk.testing.state import FakeState


class _Door(grpc.ServerInterceptor):  # type: ignore[misc]
    """Lets the state count, check or fail each call before its service gets it."""

    def __init__(self, state: FakeState) -> None:
        self._state = state

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None:
            return None
        serve = handler.unary_stream or handler.unary_unary

        def entered(request: Any, context: Any) -> Any:
            self._state.enter(details.method.rpartition("/")[2], context)
            return serve(request, context)

        kind = grpc.unary_stream_rpc_method_handler if handler.unary_stream else grpc.unary_unary_rpc_method_handler
        return kind(entered, handler.request_deserializer, handler.response_serializer)


class FakeAgentFlow(FakeState):
    """An AgentFlow server in memory on a free port. Start and stop it with `with`.

    Args:
        org: The org that the key belongs to.
        skip_time: If true, the fake's time jumps to the end of a `wait` step as soon as nothing else can happen.
            Otherwise the step waits until `skip` has reached its end.
    """

    def __init__(self, org: str = "default", *, skip_time: bool = True) -> None:
        super().__init__(org, skip_time=skip_time)
        self._server = self._make_server(0)

    def _make_server(self, port: int) -> Any:
        server = grpc.server(ThreadPoolExecutor(16), interceptors=(_Door(self),))
        workflow_pb2_grpc.add_WorkflowServiceServicer_to_server(Workflows(self), server)  # type: ignore[no-untyped-call]
        control_pb2_grpc.add_RunControlServiceServicer_to_server(Controls(self), server)  # type: ignore[no-untyped-call]
        prompt_pb2_grpc.add_PromptServiceServicer_to_server(Prompts(self), server)  # type: ignore[no-untyped-call]
        budget_pb2_grpc.add_BudgetServiceServicer_to_server(Budgets(self), server)  # type: ignore[no-untyped-call]
        trace_pb2_grpc.add_TraceServiceServicer_to_server(Traces(self), server)  # type: ignore[no-untyped-call]
        chosen = server.add_insecure_port(f"127.0.0.1:{port}")
        self.endpoint = f"127.0.0.1:{chosen}"
        return server

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.may_end.set()
        self._server.stop(0).wait()
