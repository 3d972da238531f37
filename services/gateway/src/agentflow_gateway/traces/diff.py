"""The differences of two runs: the trace service compares, and the gateway says up to where the log must be read."""

from __future__ import annotations

from typing import Any

import msgspec

from agentflow.v1 import trace_diff_pb2 as pb
from agentflow_common import rpc, subjects
from agentflow_common.errors import NotFoundError, RetryableError
from agentflow_gateway.api import convert
from agentflow_gateway.api.call import Call
from agentflow_gateway.runs import archive
from agentflow_gateway.runs.lookup import no_such_run, run_key


async def diff_traces(request: Any, call: Call) -> Any:
    """Answers DiffTraces."""
    keys = [run_key(call, request.a), run_key(call, request.b)]
    newest = [await newest_seq(call, key) for key in keys]  # 0: only the archive may know it
    question = rpc.TraceDiffRequest(
        org=call.org, a=request.a, b=request.b, min_seq=max(newest), values=not request.omit_values
    )
    try:
        reply = await call.ask(rpc.TRACE_DIFF, question)
    except NotFoundError as error:
        missing = request.a if repr(request.a) in error.message else request.b
        raise no_such_run(missing) from None
    except RetryableError as error:
        for key, seq in zip(keys, newest, strict=True):
            if not seq and await archive.is_unlisted(call, key, error):
                raise no_such_run(key.name) from None
        raise
    return convert.message_of(
        pb.DiffTracesResponse,
        reply,
        a=convert.message_of(pb.TraceDiffRun, reply.a),
        b=convert.message_of(pb.TraceDiffRun, reply.b),
        parts=[convert.message_of(pb.TraceDiffPart, part, fields=_fields(part.fields)) for part in reply.parts],
        inputs=_value(reply.inputs),
        output=_value(reply.output),
        steps=[_step(step) for step in reply.steps],
        rest=convert.message_of(pb.TraceDiffRest, reply.rest),
    )


async def newest_seq(call: Call, key: subjects.EntityKey) -> int:
    """Returns the sequence of the run's newest event of any kind, 0 if it has none."""
    subject = f"$JS.API.DIRECT.GET.{subjects.EVENTS_STREAM}"
    body = msgspec.json.encode({"last_by_subj": subjects.run_all(key)})
    reply = await call.deps.nc.request(subject, body, timeout=call.timeout_s(10.0))
    return int((reply.headers or {}).get("Nats-Sequence", "0"))


def _fields(fields: tuple[rpc.DiffField, ...]) -> list[Any]:
    return [pb.TraceDiffField(path=field.path, old=field.old, new=field.new) for field in fields]


def _value(value: rpc.DiffValue | None) -> Any:
    return None if value is None else convert.message_of(pb.TraceDiffValue, value, fields=_fields(value.fields))


def _side(side: rpc.DiffSide | None) -> Any:
    return None if side is None else convert.message_of(pb.TraceDiffSide, side)


def _step(step: rpc.DiffStep) -> Any:
    return convert.message_of(
        pb.TraceDiffStep,
        step,
        a=_side(step.a),
        b=_side(step.b),
        inputs=_value(step.inputs),
        output=_value(step.output),
    )
