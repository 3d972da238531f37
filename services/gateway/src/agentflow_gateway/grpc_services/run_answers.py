"""Runs as answers of the API, and the answers that are kept: one is made anew only if the run has gone on."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from agentflow.v1 import workflow_pb2 as pb
from agentflow_common import subjects, telemetry
from agentflow_common.events import LlmUsage
from agentflow_common.log.consumers import Delivery
from agentflow_common.runs.state import SETTLED, RunState, RunStatus, StepState, StepStatus
from agentflow_common.runs.stops import Stops
from agentflow_gateway.api import convert
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.convert import message_of
from agentflow_gateway.runs import view as run_view
from agentflow_gateway.runs.lookup import LAG_S, run_key

MESSAGE_BYTES_MAX: Final = 15 * 1024 * 1024  # of an answer; a JSON number takes eleven bytes as a protobuf Value
KEPT_BYTES_MAX: Final = 16 * 1024 * 1024  # of all kept answers on the wire; in memory they take a few times as much
KEPT_EACH_BYTES_MAX: Final = 256 * 1024


class _Kept(NamedTuple):
    run: Any  # the message; nobody changes it
    first_seq: int  # of the run's first event
    seq: int  # of the newest event in it
    text: str  # the run's definition as registered texts are written
    size: int


class RunAnswers:
    """Answers with runs. One whose log has nothing new is answered with the message that was made before."""

    def __init__(self, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._kept: OrderedDict[subjects.EntityKey, _Kept] = OrderedDict()  # the one that was asked for last, last
        self._bytes = 0
        self._bytes_max = bytes_max

    async def get(self, call: Call, run_id: str, seq: int = 0, whole: Sequence[Delivery] | None = None) -> Any:
        """Returns the run as a message, which must not be changed. NotFoundError for an unknown run.

        seq: an event that the log has, and that must be in the answer; a replica that lags is asked again.
        whole: the run's log up to that event, if it is at hand.
        """
        key = run_key(call, run_id)
        if whole and whole[-1].seq >= seq:  # a tail may lag what was read from the log
            return await self._anew(call, key, whole)
        while True:
            run = await self._again(call, key) or await self._anew(call, key)
            if run.last_sequence >= seq:
                return run
            await asyncio.sleep(LAG_S)

    async def _again(self, call: Call, key: subjects.EntityKey) -> Any:
        """Returns the kept answer if it is what a new one would be, else None."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        newest, beside = await asyncio.gather(
            call.deps.log.last(subjects.run_all(key)),
            run_view.beside_log(call, key.name, kept.first_seq, kept.run.workflow, kept.run.version, kept.text),
        )
        same = newest is not None and newest.seq == kept.seq
        if not same or (tuple(kept.run.derived_run_ids), kept.run.unregistered) != beside:
            return None
        if key in self._kept:
            self._kept.move_to_end(key)
        return kept.run

    async def _anew(self, call: Call, key: subjects.EntityKey, whole: Sequence[Delivery] | None = None) -> Any:
        view = await run_view.view(call, key.name, reveal=False, reason="", whole=whole)
        run = message(view)
        self._forget(key)
        if (size := run.ByteSize()) <= KEPT_EACH_BYTES_MAX:
            self._kept[key] = _Kept(run, view.first_seq, view.last_seq, view.text, size)
            self._bytes += size
            while self._bytes > self._bytes_max:
                self._forget(next(iter(self._kept)))
        return run

    def _forget(self, key: subjects.EntityKey) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._bytes -= kept.size


def _waits(state: RunState, step: StepState) -> bool:
    """True if the step waits. An unknown outcome waits for a person's answer, unless the run ends with it."""
    unknown = step.status is StepStatus.OUTCOME_UNKNOWN and state.status is RunStatus.WAITING
    return step.status is StepStatus.WAITING or unknown


def message(view: run_view.RunView) -> Any:
    """Returns the run for an answer, without outputs where they would make it too large."""
    run = _whole(view)
    if run.ByteSize() > MESSAGE_BYTES_MAX:
        for step in run.steps:
            if step.HasField("output"):
                _truncate(step.output)
    if run.ByteSize() > MESSAGE_BYTES_MAX:
        _truncate(run.output)
        for value in run.state.fields.values():
            _truncate(value)
    return run


def _whole(view: run_view.RunView) -> Any:
    state, stops = view.state, view.state.stops or Stops()
    message = message_of(
        pb.Run,
        state,
        inputs=None,
        output=None,
        state=None,
        error=convert.error_info(state.error),
        steps=(),
        trace_id=telemetry.trace_id(state.trace),
        last_sequence=view.last_seq,
        parent_run_id=state.parent.run if state.parent else "",
        parent_step=state.parent.step if state.parent else "",
        origin_kind=state.origin.kind if state.origin else "",
        origin_run_id=state.origin.run if state.origin else "",
        origin_step=state.origin.step if state.origin else "",
        paused_reason=state.pause_reason if state.status is RunStatus.PAUSED or state.pause_requested else "",
        cancel_reason="" if state.status in (RunStatus.COMPLETED, RunStatus.FAILED) else state.cancel_reason,
        stopped_before=stops.before if state.status is RunStatus.PAUSED else (),
        break_at=stops.at,
        step_by_step=stops.every,
        changed_values=stops.changed,
        paused_until=state.paused_until if state.pause_requested else 0,
        waiting_steps=[key for key, step in state.steps.items() if _waits(state, step)],
        derived_run_ids=view.derived,
        unregistered=view.unregistered,
    )
    convert.set_value(message.inputs, view.inputs)
    if state.output is not None:
        convert.set_value(message.output, view.output)
    if view.shared is not None:
        convert.set_struct(message.state, view.shared)
    for key, step in run_view.pending_steps(state).items():
        item = _step(key, step, state.prompts)
        item.seeded = key in view.seeded and step.status in SETTLED
        if key in view.outputs:
            convert.set_value(item.output, view.outputs[key])
        message.steps.append(item)
    return message


def _step(key: str, step: StepState, prompts: dict[str, str]) -> Any:
    llm = step.llm or LlmUsage(provider="", model="", prompt="", input_tokens=0, output_tokens=0, cost_nano=0)
    waits = step.status is StepStatus.WAITING
    message = message_of(
        pb.Step,
        step,
        step=key,
        output=None,
        error=convert.error_info(step.error),
        cost_nano_usd=llm.cost_nano,
        provider=llm.provider,
        model=llm.model,
        prompt=prompts.get(llm.prompt, llm.prompt),
        type=step.kind,
        skip_reason=step.reason if not waits else "",
        waiting_for="lane" if step.status is StepStatus.QUEUED else step.waiting * waits,
        waiting_until=step.until if waits else 0,
        waiting_detail=None,
        child_run_id=step.child,
        seeded=False,
        finish_reason=llm.finish_reason,
    )
    if step.detail and waits:
        convert.set_struct(message.waiting_detail, step.detail)
    return message


def _truncate(value: Any) -> None:
    size = value.ByteSize()
    value.Clear()
    convert.set_value(value, {"$truncated": size})
