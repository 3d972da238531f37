"""Events as bytes of a bounded size. Values that make an event too large are stored out of line (claim check)."""

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
SENT_BYTES_MAX: Final = 512  # in line, of what an edge of a graph gives one step: a superstep may have a thousand
PACK_BYTES_MIN: Final = 4 * 1024  # smaller inputs stay in line even in a large task


class Packer:
    """Encodes the decisions of entities, and the facts that they send."""

    def __init__(self, nc: Client, blobs: Blobs) -> None:
        self._nc = nc
        self._blobs = blobs

    async def turn(self, key: EntityKey, entity: Entity, out: Decisions) -> Turn:
        """Returns an entity's decisions as bytes.

        Raises StepFault for a decision that can't be written, and RetryableError if it can't be
        written now.
        """
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
        """Returns the decision's bytes.

        A value that is stored out of line is replaced in the state too, so that the state still
        equals the fold.
        """
        data = ev.encode(decision)
        is_child = isinstance(decision, ev.StepScheduled) and parent_of(decision.step) is not None
        # values that the children of a parallel step share are stored once, and not in each of their tasks
        if len(data) <= (2 * PACK_BYTES_MIN if is_child else INLINE_BYTES_MAX):
            return data
        if isinstance(decision, ev.StepScheduled):
            packed = dict(decision.inputs)
            for name, value in packed.items():
                if len(msgspec.json.encode(value)) > PACK_BYTES_MIN:
                    packed[name] = await self._store(value)
            return ev.encode(msgspec.structs.replace(decision, inputs=packed))
        if isinstance(decision, ev.RunCompleted | ev.RunFinishing):
            payload = await self._blobs.pack(decision.output.value, "the run's output")
            if isinstance(decision, ev.RunCompleted):
                state.output = payload
            else:
                state.finishing = msgspec.structs.replace(state.finishing, output=payload)
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
        sent: dict[str, Payload] = {}
        for step, payload in decision.sent.items():
            sent[step] = payload
            if len(msgspec.json.encode(payload.value)) > SENT_BYTES_MAX:
                ref = await self._blobs.store(payload.value, f"what {step} is given")
                sent[step] = state.sent[step] = Payload(ref=ref)
        return ev.encode(msgspec.structs.replace(decision, state=changed, sent=sent))

    async def fact(self, origin: EntityKey, to: EntityKey, fact: ev.Event) -> bytes:
        """Returns the bytes of a fact for another entity.

        Raises RetryableError if a service that it needs does not answer, and InvalidError if no
        such entity can exist. Either concerns this entity only, and not all entities of the turn.
        """
        ids.check_token(to.org, "an org")
        ids.check_token(to.name, "an entity")
        await self._share_tokens(origin, to, fact)
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

    async def _share_tokens(self, origin: EntityKey, to: EntityKey, fact: ev.Event) -> None:
        """Lets a run that is given values of another run ask for the originals of their vault tokens."""
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
        """Stores a payload out of line above a lower bound: it is one of many in an event."""
        if payload.ref is not None or len(msgspec.json.encode(payload.value)) <= PACK_BYTES_MIN:
            return payload
        return Payload(ref=await self._blobs.store(payload.value, "a signal's payload"))

    async def _pack(self, payload: Payload, what: str) -> Payload:
        return payload if payload.ref is not None else await self._blobs.pack(payload.value, what)

    async def _store(self, value: Any) -> Any:
        """Stores a large value and returns its marker."""
        if is_marker(value):
            return value
        ref = await self._blobs.store(value, "a step's input")
        return blob_marker(ref)
