"""Runs that start from outside: webhooks over HTTP here, NATS messages in schedules/subject_listeners.py.

`POST /api/v1/triggers/<org>/<schedule>` asks the schedule for a run. It has a JSON body (or none) and a signature
(schedules/webhook_signatures.py). Once the request is durable in the log, the answer says what the schedule decided, if
it decides soon: 200 if no run starts, else 202. Every refusal has a JSON body `{"error": {"kind", "message", ...}}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from agentflow_common import telemetry
from agentflow_common.errors import AgentFlowError, InvalidError, OverloadedError, RetryableError
from agentflow_common.metrics.calls import HTTP_REQUESTS, HTTP_SECONDS, TRIGGERS
from agentflow_common.schedules import fire_times
from agentflow_common.schedules import spec as schedule_spec
from agentflow_gateway import auth_rules, limits
from agentflow_gateway.api import errors
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.gate import Gate
from agentflow_gateway.auth_rules import Identity
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.schedules import triggers, webhook_secrets, webhook_signatures
from agentflow_gateway.schedules.trigger_results import TriggerResult, Watch
from agentflow_gateway.schedules.triggers import PAYLOAD_BYTES_MAX, Trigger, Triggered
from agentflow_gateway.schedules.webhook_secrets import Keys
from agentflow_gateway.store.schedules import ScheduleRow

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

DELIVERIES_MAX: Final = 64  # served at once by one gateway
SERVE_S_MAX: Final = 20.0
PATH: Final = "/api/v1/triggers/{org}/{name}"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_STATUS: Final = {
    "invalid_argument": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "already_exists": 409,
    "aborted": 409,
    "failed_precondition": 409,
    "resource_exhausted": 429,
    "unavailable": 503,
    "deadline_exceeded": 504,
}


def status_of(error: AgentFlowError) -> int:
    return 413 if error.kind == "inputs_too_large" else _STATUS.get(error.code, 500)


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an answer."""

    trigger_id: str
    status: str
    run_id: str = ""  # see TriggerResult.run
    reason: str = ""
    error: dict[str, str] = {}
    look: str = ""  # where the result can be seen later
    warning: str = ""

    @property
    def code(self) -> int:
        return 200 if self.status in {"skipped", "refused"} else 202


def answer_of(triggered: Triggered, name: str, result: TriggerResult, old_until: int = 0) -> Answer:
    """Returns the answer to a delivery. old_until: ms, if it was signed with the old secret. Pure."""
    at = fire_times.from_ms(old_until).isoformat(timespec="seconds")
    look = f"send it again with `X-Delivery-Id: {triggered.trigger_id}`, or see: agentctl schedule get {name}"
    return Answer(
        trigger_id=triggered.trigger_id,
        status=result.status,
        run_id=result.run,
        reason=result.reason,
        error={} if result.error is None else {"kind": result.error.type, "message": result.error.message},
        look=look if result.status == "accepted" else "",
        warning=f"signed with the old secret, which is valid until {at}: use the new one" if old_until else "",
    )


class Webhooks:
    """The HTTP door of schedules."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._watch = Watch()
        self._gate = Gate(_overloaded)

    async def deliver(self, request: Request) -> Response:
        """Serves one delivery.

        An unknown schedule, one without a webhook and a wrong signature look alike from outside.
        """
        from starlette.responses import Response

        began = time.perf_counter()
        code, body, retry_after_ms = 500, b"", None
        try:
            async with asyncio.timeout(SERVE_S_MAX):
                with self._gate.entered(DELIVERIES_MAX):
                    call, triggered, old_until = await self._serve(request)
            result = await self._watch.result(call, triggered)
            answer = answer_of(triggered, str(request.path_params["name"]), result, old_until)
            code, body = answer.code, msgspec.json.encode(answer)
        except Exception as error:
            cause = errors.for_client(error)
            code, retry_after_ms = status_of(cause), cause.retry_after_ms
            problems = [{"place": p.place, "message": p.message, "fix": p.fix} for p in cause.problems]
            body = msgspec.json.encode({"error": {"kind": cause.kind, "message": cause.message, "problems": problems}})
        TRIGGERS.labels("webhook", str(code)).inc()
        HTTP_REQUESTS.labels(PATH, str(code)).inc()
        HTTP_SECONDS.labels(PATH).observe(time.perf_counter() - began)
        headers = {} if retry_after_ms is None else {"retry-after": str(max(1, retry_after_ms // 1000))}
        return Response(body, code, headers, media_type="application/json")

    async def _serve(self, request: Request) -> tuple[Call, Triggered, int]:
        """Returns (the call, the trigger, ms until which the old secret is valid if it signed the delivery, else 0)."""
        org, name = str(request.path_params["org"]), str(request.path_params["name"])
        deps, body = self._deps, await _body(request)
        row = await self._row(org, name)
        spec = schedule_spec.trusted(row.spec) if row is not None else None
        now_ms = deps.clock.now_ms()
        if row is None or spec is None:  # refused below, after as much work
            keys = Keys(0, (webhook_signatures.secret_of(deps.secret, org, name, "", 0),))
        else:
            keys = webhook_secrets.keys_of(deps.secret, org, row.uid, spec, now_ms)
        headers = {key.lower(): value for key, value in request.headers.items()}
        delivery_id, which = webhook_signatures.verify_any(headers, body, keys.secrets, now_ms / 1000)
        if row is None or spec is None or not spec.trigger.webhook:
            raise webhook_signatures.refusal("the key does not match")
        parent = auth_rules.caller_trace(headers)
        with telemetry.span("schedule.webhook", parent, "server", agentflow__org=org) as span:
            call = Call(deps, Identity(f"webhook:{name}", org, ("write",)), span.traceparent)
            triggered = await triggers.trigger(call, name, Trigger("webhook", _payload(body), id=delivery_id))
            return call, triggered, keys.old_until if which else 0

    async def _row(self, org: str, name: str) -> ScheduleRow | None:
        if not _TOKEN.match(org) or not _TOKEN.match(name):
            return None
        row = await self._deps.store.schedules.find(org, name)
        return None if row is None or row.status == "deleted" else row


def _overloaded(text: str) -> OverloadedError:
    return OverloadedError(f"{text} deliveries; try again", kind="overloaded", retry_after_ms=1000)


async def _body(request: Request) -> bytes:
    """Returns at most PAYLOAD_BYTES_MAX, independent of the declared length."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        limits.check_size(size, PAYLOAD_BYTES_MAX, "payload")
        chunks.append(chunk)
    return b"".join(chunks)


def _payload(body: bytes) -> Any:
    if not body.strip():
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidError(f"the body is not JSON: {str(error)[:200]}", kind="invalid_payload") from None


@contextlib.asynccontextmanager
async def serving(deps: Deps) -> AsyncIterator[int]:
    """Serves HTTP until the block ends. Gives the port. RetryableError if it is taken."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Route

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # they are the service's

    door = Webhooks(deps)
    app = Starlette(routes=[Route(PATH, door.deliver, methods=["POST"])])
    settings = deps.settings
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_http_port,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        timeout_keep_alive=15,
        limit_concurrency=8 * DELIVERIES_MAX,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    sock = _bound(settings.api_host, settings.api_http_port)
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        while not server.started and not task.done():  # noqa: ASYNC110  (uvicorn reports it by this flag alone)
            await asyncio.sleep(0.005)
        yield int(sock.getsockname()[1])
    finally:
        server.should_exit = True
        await asyncio.wait([task])
        sock.close()


def _bound(host: str, port: int) -> Any:
    import socket

    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise RetryableError(f"can't listen on {host}:{port}: set API_HTTP_PORT to a free port, or 0") from error
