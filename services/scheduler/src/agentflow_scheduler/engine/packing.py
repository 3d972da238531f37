"""Events as bytes that fit: what makes one too large is stored out of line first (claim check)."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import ids, screening, subjects
from agentflow_common.errors import DeadlineError, RetryableError
from agentflow_common.events import Payload
from agentflow_common.log.blobs import INLINE_BYTES_MAX, Blobs
from agentflow_common.log.event_log import Entry
from agentflow_common.rpc import ADOPT, AdoptRequest, bus
from agentflow_common.runs.state import RunState, blob_marker, is_marker, parent_of
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.decisions import Decisions
from agentflow_scheduler.engine.append import Turn
from agentflow_scheduler.entities import Entity
from agentflow_scheduler.runs.faults import at_step

ADOPT_TIMEOUT_S: Final = 5.0
PACK_BYTES_MIN: Final = 4 * 1024  # smaller inputs stay in line even in a large task


class Packer:
    def __init__(self, nc: Client, blobs: Blobs) -> None:
        self._nc = nc
        self._blobs = blobs

    async def turn(self, key: EntityKey, entity: Entity, out: Decisions) -> Turn:
        """What an entity decided, as bytes. StepFault for what can't be written, RetryableError if not now."""
        encoded = []
        for decision in out.decisions:
            with at_step(ev.step_of(decision)):
                encoded.append(await self.decision(entity.state, decision))
        sent = []
        for number, (to, fact) in enumerate(out.sends):
            about = out.decisions[out.marks[number] - 1] if out.marks and out.marks[number] else None
            with at_step("" if about is None else ev.step_of(about)):
                sent.append(Entry(subjects.run_in(to), await self.fact(key, to, fact)))
        return Turn(key, entity, out.decisions, encoded, sent, out.groups() if sent else ())

    async def decision(self, state: Any, decision: ev.Decision) -> bytes:
        """The decision's bytes. What is stored out of line is so in the state as well: state equals fold."""
        data = ev.encode(decision)
        is_child = isinstance(decision, ev.StepScheduled) and parent_of(decision.step) is not None
        # what the children of a parallel step have in common is stored once and not in each of their tasks
        if len(data) <= (2 * PACK_BYTES_MIN if is_child else INLINE_BYTES_MAX):
            return data
        if isinstance(decision, ev.StepScheduled):
            packed = dict(decision.inputs)
            for name, value in packed.items():
                if len(msgspec.json.encode(value)) > PACK_BYTES_MIN:
                    packed[name] = await self._store(value)
            return ev.encode(msgspec.structs.replace(decision, inputs=packed))
        if isinstance(decision, ev.RunCompleted):
            payload = await self._blobs.pack(decision.output.value, "the run's output")
            state.output = payload
            return ev.encode(msgspec.structs.replace(decision, output=payload))
        if isinstance(decision, ev.StepResolved):
            payload = await self._pack(decision.output, "the step's output")
            state.steps[decision.step].output = payload
            return ev.encode(msgspec.structs.replace(decision, output=payload))
        if isinstance(decision, ev.GraphAdvanced):
            return await self._graph(state, decision)
        return data

    async def _graph(self, state: RunState, decision: ev.GraphAdvanced) -> bytes:
        changed: dict[str, Payload] = {}
        for name, payload in decision.state.items():
            if payload.ref is None and len(msgspec.json.encode(payload.value)) > PACK_BYTES_MIN:
                stored = Payload(ref=await self._blobs.store(payload.value, f"the state's {name}"))
                if state.shared.get(name) is payload:  # a later superstep of the same turn may have replaced it
                    state.shared[name] = stored
                changed[name] = stored
            else:
                changed[name] = payload
        return ev.encode(msgspec.structs.replace(decision, state=changed))

    async def fact(self, origin: EntityKey, to: EntityKey, fact: ev.Event) -> bytes:
        """The bytes of a fact for another entity. RetryableError if what it needs can't be reached now, InvalidError if
        there can be no such entity: not sent, it is one entity's trouble and not that of all in the turn."""
        ids.check_token(to.org, "an org")
        ids.check_token(to.name, "an entity")
        await self._hand_on(origin, to, fact)
        data = ev.encode(fact)
        if len(data) <= INLINE_BYTES_MAX:
            return data
        if isinstance(fact, ev.RunSubmitted):
            inputs = await self._pack(fact.inputs, "the run's inputs")
            signals = {name: [await self._small(p) for p in kept] for name, kept in fact.signals.items()}
            return ev.encode(msgspec.structs.replace(fact, inputs=inputs, signals=signals))
        if isinstance(fact, ev.ChildEnded):
            return ev.encode(msgspec.structs.replace(fact, output=await self._pack(fact.output, "the run's output")))
        return data

    async def _hand_on(self, origin: EntityKey, to: EntityKey, fact: ev.Event) -> None:
        """A run that is given values of another may ask for what their redaction tokens stand for."""
        if isinstance(fact, ev.RunSubmitted):
            payload = fact.inputs
        elif isinstance(fact, ev.ChildEnded):
            payload = fact.output
        else:
            return
        if not screening.contains_token(payload.value):
            return
        request = AdoptRequest(org=to.org, run=to.name, origin=origin.name)
        try:
            await bus.call(self._nc, ADOPT, request, timeout_s=ADOPT_TIMEOUT_S)
        except DeadlineError as error:
            raise RetryableError(error.message, kind=error.kind) from error

    async def _small(self, payload: Payload) -> Payload:
        """One of many."""
        if payload.ref is not None or len(msgspec.json.encode(payload.value)) <= PACK_BYTES_MIN:
            return payload
        return Payload(ref=await self._blobs.store(payload.value, "a signal's payload"))

    async def _pack(self, payload: Payload, what: str) -> Payload:
        return payload if payload.ref is not None else await self._blobs.pack(payload.value, what)

    async def _store(self, value: Any) -> Any:
        """A marker in the place of a large value; see runstate.blob_marker."""
        if is_marker(value):
            return value
        ref = await self._blobs.store(value, "a step's input")
        return blob_marker(ref)
