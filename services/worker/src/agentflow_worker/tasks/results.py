"""The result of an attempt, and its output in the form that the log takes: valid, screened, not too large."""

from __future__ import annotations

from typing import Any

import msgspec
from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import rpc, screening
from agentflow_common.errors import AgentFlowError, InvalidError, TerminalError
from agentflow_common.log.blobs import Blobs, in_line
from agentflow_common.rpc import bus
from agentflow_common.runs.state import MARKER, holds_marker
from agentflow_worker.tasks.attempt import Attempt
from agentflow_worker.tasks.reports import patiently


class TaskResult(msgspec.Struct):
    """An output or an error."""

    output: Any = None
    llm: ev.LlmUsage | None = None  # what its model calls used, whatever came of them
    redactions: dict[str, int] = {}  # findings in what was screened, by category
    error: BaseException | None = None
    payload: ev.Payload | None = None  # the output as it is reported; None until it is packed


class ResultPacker:
    def __init__(self, nc: Client, blobs: Blobs) -> None:
        self._nc = nc
        self._blobs = blobs

    async def pack(self, attempt: Attempt, result: TaskResult) -> None:
        """Sets the payload of a result without an error.

        An output that can't be reported becomes an error.
        """
        try:
            if holds_marker(result.output):
                raise InvalidError(f"an output may not hold the reserved key `{MARKER}`", kind="reserved_key")
            # an LLM step has protected its own output
            if attempt.task.kind != "llm" and screening.needs_screening(result.output):
                await self._screen(attempt, result)
            output = result.output
            result.payload = in_line(output) or await patiently(lambda: self._blobs.pack(output, "the step's output"))
        except AgentFlowError as error:
            result.error = error
        except Exception as error:  # half a character, a value too deep: it would not help to run it again
            text = f"the step's output can't be written as JSON ({type(error).__name__}): return valid text and numbers"
            result.error = TerminalError(text, kind="result_not_json")

    async def _screen(self, attempt: Attempt, result: TaskResult) -> None:
        """Replaces what is sensitive in the output.

        An output that can't be examined is not passed on (fail closed).
        """
        task = attempt.task
        request = rpc.ProtectRequest(org=task.org, run=task.run, value=result.output, purpose="output", step=task.step)
        reply = await patiently(lambda: bus.call(self._nc, rpc.PROTECT, request, trace=attempt.context.trace))
        result.output = reply.value
        result.redactions = reply.counts
