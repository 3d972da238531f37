"""The synchronous client. Its methods are the functions of `calls`, run over a blocking channel."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, Unpack, cast, overload

import grpc

from agentflow_sdk import methods
from agentflow_sdk.calls import admin as admin_calls
from agentflow_sdk.calls import audit as audit_calls
from agentflow_sdk.calls import controls as control_calls
from agentflow_sdk.calls import schedules as schedule_calls
from agentflow_sdk.calls import tools as tool_calls
from agentflow_sdk.calls import workflows as calls
from agentflow_sdk.calls.workflows import Call, DefinitionSource, RunRef
from agentflow_sdk.choices import BatchAction, BatchOptions, SubmitOptions
from agentflow_sdk.convert import controls as control_convert
from agentflow_sdk.errors import AgentFlowError, from_rpc_error
from agentflow_sdk.models.controls import BatchProgress
from agentflow_sdk.models.workflows import Run, RunEvent, Token
from agentflow_sdk.transport import channel, connection
from agentflow_sdk.transport.retry import RetryPolicy
from agentflow_sdk.transport.watching import WatchState

T = TypeVar("T")
P = ParamSpec("P")


class Transport:
    """Runs calls: deadline, retries, errors. Safe to share between threads."""

    def __init__(
        self,
        base_url: str,
        token: str,
        org_id: str,
        timeout_s: float,
        retry: RetryPolicy,
        root_certificates: bytes | None,
    ) -> None:
        self.endpoint = channel.parse_endpoint(base_url)
        self.timeout_s = timeout_s
        self._retry = retry
        self._metadata = channel.metadata(token, org_id)
        if self.endpoint.secure:
            self._channel = grpc.secure_channel(
                self.endpoint.target, channel.credentials(root_certificates), channel.OPTIONS
            )
        else:
            self._channel = grpc.insecure_channel(self.endpoint.target, channel.OPTIONS)

    def run(self, call: Call[T]) -> T:
        """The call's answer. Raises AgentFlowError."""
        send = self._channel.unary_unary(call.method.path, channel.serialise, call.method.reply.FromString)
        end_s = time.monotonic() + (self.timeout_s if call.timeout_s is None else call.timeout_s)
        attempt = 0
        while True:
            attempt += 1
            remaining_s = max(0.001, end_s - time.monotonic())
            try:
                return call.read(send(call.request, timeout=remaining_s, metadata=self._metadata))
            except grpc.RpcError as rpc_error:
                error = from_rpc_error(rpc_error, str(self.endpoint))
                wait_s = self._retry.delay(
                    error, attempt, end_s - time.monotonic(), random.random(), repeatable=call.repeatable
                )
                if wait_s is None:
                    raise error from rpc_error
            time.sleep(wait_s)

    def stream(self, method: calls.Method, request: Any, timeout_s: float | None) -> Iterator[Any]:
        """The messages of a server stream; raises AgentFlowError; closing the iterator cancels the call."""
        send = self._channel.unary_stream(method.path, channel.serialise, method.reply.FromString)
        answer = send(request, timeout=timeout_s, metadata=self._metadata)
        try:
            yield from answer
        except grpc.RpcError as rpc_error:
            raise from_rpc_error(rpc_error, str(self.endpoint)) from rpc_error
        finally:
            answer.cancel()

    def close(self) -> None:
        self._channel.close()


class _Resource:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport


class _method(Generic[P, T]):  # noqa: N801  (used like a decorator)
    """Makes a function of `calls` a method with the same parameters and docstring."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build
        self._name = build.__name__

    def __set_name__(self, owner: type[_Resource], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, resource: None, owner: type[_Resource]) -> Callable[Concatenate[_Resource, P], T]: ...

    @overload
    def __get__(self, resource: _Resource, owner: type[_Resource]) -> Callable[P, T]: ...

    def __get__(self, resource: _Resource | None, owner: type[_Resource]) -> Callable[..., T]:
        build = self._build
        if resource is None:

            def unbound(resource: _Resource, /, *args: P.args, **kwargs: P.kwargs) -> T:
                return resource._transport.run(calls.built(build, *args, **kwargs))

            return cast(Callable[..., T], methods.dress(unbound, build, self._name, owner, unbound=True))
        transport = resource._transport

        def bound(*args: P.args, **kwargs: P.kwargs) -> T:
            return transport.run(calls.built(build, *args, **kwargs))

        methods.dress(bound, build, self._name, owner, unbound=False)
        resource.__dict__[self._name] = bound  # found there from now on: a method is dressed once for each client
        return bound


class Workflows(_Resource):
    register = _method(calls.register)
    validate = _method(calls.validate)
    submit = _method(calls.submit)
    get = _method(calls.get_run)
    list = _method(calls.list_runs)
    cancel = _method(calls.cancel)
    pause = _method(control_calls.pause)
    resume = _method(control_calls.resume)
    signal = _method(control_calls.signal)
    approve = _method(control_calls.approve)
    reject = _method(control_calls.reject)
    approvals = _method(control_calls.list_approvals)
    resolve = _method(control_calls.resolve)
    fork = _method(control_calls.fork)
    retry = _method(control_calls.retry)
    why = _method(control_calls.why)
    pause_workflow = _method(control_calls.pause_workflow)
    resume_workflow = _method(control_calls.resume_workflow)
    versions = _method(control_calls.list_versions)
    label = _method(control_calls.set_label)
    remove_label = _method(control_calls.remove_label)
    diff = _method(control_calls.diff)
    delete = _method(control_calls.delete_workflow)

    def batch(
        self, action: BatchAction, *, timeout: float | None = None, **options: Unpack[BatchOptions]
    ) -> Iterator[BatchProgress]:
        """One action on every run that a filter finds: cancel, pause, resume, retry or signal; its progress.

        Without `execute=True` only the count and a sample come. After
        a break go on with the last `cursor`; repeating the whole does no harm either.
        """
        request = control_calls.batch_request(action, **options)
        for message in self._transport.stream(control_calls.BATCH, request, timeout):
            yield control_convert.batch_progress(message)

    def watch(
        self,
        run: RunRef,
        *,
        after_sequence: int = 0,
        tokens: bool = True,
        timeout: float | None = None,
        patience: float = 60.0,
    ) -> Iterator[RunEvent | Token]:
        """The run's events from the log, then live ones and tokens, until the run ends.

        A dropped connection is resumed where it broke; events come once, in order. timeout: seconds for the whole
        watch (DeadlineExceededError). patience: seconds without any server before UnavailableError is raised.
        """
        now = time.monotonic
        state = WatchState(
            calls.run_id_of(run),
            after_sequence=after_sequence,
            tokens=tokens,
            now_s=now(),
            timeout_s=timeout,
            patience_s=patience,
        )
        while True:
            try:
                for response in self._transport.stream(calls.WATCH, state.request(), state.remaining_s(now())):
                    item = state.accept(response, now())
                    if item is not None:
                        yield item
                    if state.finished:
                        return
            except AgentFlowError as error:
                time.sleep(state.failed(error, now(), random.random()))
            else:
                return  # the server closes in good order only when the run is over

    def wait(self, run: RunRef, *, timeout: float | None = None) -> Run:
        """The run once it is over, however it ended. timeout: seconds (DeadlineExceededError)."""
        end_s = None if timeout is None else time.monotonic() + timeout
        sequence = 0
        while True:
            left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
            for item in self.watch(run, after_sequence=sequence, tokens=False, timeout=left_s):
                if isinstance(item, RunEvent):
                    sequence = item.sequence
            result = self.get(run)
            if result.status.is_final:
                return result
            time.sleep(0.05)

    def run(
        self,
        workflow: DefinitionSource,
        inputs: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Run:
        """Submits and waits; returns the completed run, raises RunFailedError if it ends otherwise.

        timeout: seconds for the whole of it. options: those of `submit`.
        """
        return self.wait(self.submit(workflow, inputs, **options), timeout=timeout).raise_for_status()


class Lanes(_Resource):
    list = _method(control_calls.list_lanes)
    get = _method(control_calls.get_lane)
    set = _method(control_calls.set_lane)


class Prompts(_Resource):
    create = _method(calls.create_prompt)
    get = _method(calls.get_prompt)
    list = _method(calls.list_prompts)


class Budgets(_Resource):
    create = _method(calls.create_budget)
    get = _method(calls.get_budget)
    list = _method(calls.list_budgets)
    set = _method(calls.update_budget)
    delete = _method(calls.delete_budget)


class Traces(_Resource):
    get = _method(calls.get_trace)
    query = _method(calls.query_traces)


class Admin(_Resource):
    list_dead_letters = _method(admin_calls.list_dead_letters)
    get_dead_letter = _method(admin_calls.get_dead_letter)
    replay_dead_letters = _method(admin_calls.replay_dead_letters)
    purge_dead_letters = _method(admin_calls.purge_dead_letters)
    get_retention = _method(admin_calls.get_retention)
    set_retention = _method(admin_calls.set_retention)


class Schedules(_Resource):
    create = _method(schedule_calls.create)
    update = _method(schedule_calls.update)
    get = _method(schedule_calls.get)
    list = _method(schedule_calls.list_schedules)
    pause = _method(schedule_calls.pause)
    resume = _method(schedule_calls.resume)
    trigger = _method(schedule_calls.trigger)
    backfill = _method(schedule_calls.backfill)
    delete = _method(schedule_calls.delete)
    preview = _method(schedule_calls.preview)
    webhook = _method(schedule_calls.webhook)
    rotate_webhook = _method(schedule_calls.rotate_webhook)
    set_calendar = _method(schedule_calls.set_calendar)
    calendars = _method(schedule_calls.calendars)
    delete_calendar = _method(schedule_calls.delete_calendar)


class Audit(_Resource):
    list = _method(audit_calls.list_entries)
    get = _method(audit_calls.get_entry)
    verify = _method(audit_calls.verify)


class Tools(_Resource):
    list = _method(tool_calls.list_tools)
    get = _method(tool_calls.get_tool)


class Client:
    """A connection to AgentFlow for threads and scripts; use it in a `with` block or call `close()`.

    base_url: `host:port` or `http://host:port` (plain), `https://host[:port]` (TLS).
    token: the API key.
    org_id: only checked, the key determines the org.
    timeout: default seconds for a call, retries included.

    What is left out is looked up where agentctl looks: AGENTFLOW_ENDPOINT, AGENTFLOW_TOKEN and AGENTFLOW_ORG, then the
    file that `agentctl config set` writes, then the embedded stack in ./.agentflow (AGENTFLOW_DATA_DIR). Raises
    ConfigurationError, a subclass of AgentFlowError, if there is no endpoint or no key.
    """

    def __init__(
        self,
        base_url: str = "",
        token: str = "",
        org_id: str = "",
        *,
        timeout: float = 30.0,
        retry: RetryPolicy | None = None,
        root_certificates: bytes | None = None,
    ) -> None:
        target = connection.locate(base_url, token, org_id)
        self._transport = Transport(
            target.endpoint, target.token, target.org_id, timeout, retry or RetryPolicy(), root_certificates
        )
        self.workflows = Workflows(self._transport)
        self.lanes = Lanes(self._transport)
        self.prompts = Prompts(self._transport)
        self.budgets = Budgets(self._transport)
        self.traces = Traces(self._transport)
        self.schedules = Schedules(self._transport)
        self.admin = Admin(self._transport)
        self.audit = Audit(self._transport)
        self.tools = Tools(self._transport)

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
