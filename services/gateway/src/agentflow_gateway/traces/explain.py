"""Why a run ended as it did. Of a run that goes on, the gateway adds what its steps wait for now."""

from __future__ import annotations

from typing import Any

from agentflow.v1 import trace_explain_pb2 as pb
from agentflow_common import rpc
from agentflow_common.errors import NotFoundError, RetryableError
from agentflow_common.rpc.traces.explain import Cause, CostReport, TimeReport
from agentflow_common.subjects import EntityKey
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.convert import message_of
from agentflow_gateway.runs import archive, explain
from agentflow_gateway.runs.lookup import no_such_run


async def answer(call: Call, key: EntityKey, newest: int, request: Any) -> Any:
    """Returns the answer to ExplainTrace.

    newest: the sequence of the newest event of the run; 0: only the archive may know it.
    """
    waiting = (await explain.explain(call, request.run_id))[1].waiting if newest else ()
    question = rpc.ExplainRequest(
        org=call.org,
        run=request.run_id,
        min_seq=newest,
        slow=request.slow,
        cost=request.cost,
        now_ms=call.now_ms(),
        waiting=waiting,
    )
    try:
        reply = await call.ask(rpc.TRACE_EXPLAIN, question)
    except NotFoundError:
        raise no_such_run(request.run_id) from None
    except RetryableError as error:
        if not newest and await archive.is_unlisted(call, key, error):
            raise no_such_run(request.run_id) from None
        raise
    return message_of(
        pb.ExplainTraceResponse,
        reply,
        causes=[_cause(cause) for cause in reply.causes],
        slow=None if reply.slow is None else _time(reply.slow),
        cost=None if reply.cost is None else _cost(reply.cost),
    )


def _cause(cause: Cause) -> Any:
    chain = [
        message_of(pb.TraceCauseLink, link, evidence=[message_of(pb.TraceEvidence, item) for item in link.evidence])
        for link in cause.chain
    ]
    return message_of(pb.TraceCause, cause, chain=chain)


def _time(report: TimeReport) -> Any:
    parts = [message_of(pb.TraceTimeShare, part, usual=message_of(pb.TraceUsual, part.usual)) for part in report.parts]
    return message_of(pb.TraceTimeReport, report, usual=message_of(pb.TraceUsual, report.usual), parts=parts)


def _cost(report: CostReport) -> Any:
    steps = [message_of(pb.TraceCostShare, step, usual=message_of(pb.TraceUsual, step.usual)) for step in report.steps]
    models = [message_of(pb.TraceModelCost, model) for model in report.models]
    usual = message_of(pb.TraceUsual, report.usual)
    return message_of(pb.TraceCostReport, report, usual=usual, steps=steps, models=models)
