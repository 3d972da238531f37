"""Events of other entities than runs: claims, costs, audit, keyed lanes."""

from __future__ import annotations

from typing import Any

from agentflow_common.events.base import AttemptFact, Decision, Event, SlotDecision, SlotFact


class ClaimTaken(AttemptFact, frozen=True, tag="claim.taken"):
    """A worker is about to run a non-idempotent attempt (subject `...claim.<step>.<attempt>`, expected sequence 0)."""

    worker: str


class CostSettled(AttemptFact, frozen=True, tag="cost.settled"):
    """Stream AF_COST."""

    reservation: str
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_nano: int
    reserved_nano: int
    source_seq: int  # the sequence in AF_EVENTS of the step event that it settles (its message id)


class AuditRecorded(Event, frozen=True, tag="audit.recorded"):
    """Stream AF_AUDIT."""

    action: str  # `protect`, `restore`, `block` and more (docs/privacy.md)
    actor: str
    step: str = ""
    reason: str = ""
    counts: dict[str, int] = {}  # findings by category, never the values


# --- keyed lanes: an entity each, whose `in` holds requests and whose `out` holds grants ---


class LaneRequested(SlotFact, frozen=True, tag="lane.requested"):
    """An attempt asks for a slot."""

    priority: int = 0
    limit: int = 1  # limit, rate_per_s: what its definition declares, if nobody configured the lane
    rate_per_s: float | None = None
    policy: str = ""  # of a run, which asks with an empty step: what follows if no slot is free


class LaneReleased(SlotFact, frozen=True, tag="lane.released"):
    """An attempt needs its slot (or its place in the queue) no longer."""


class LaneMoved(SlotFact, frozen=True, tag="lane.moved"):
    """The holder goes on as a new run, which has its slot from here on."""

    to_run: str


class LaneConfigured(Event, frozen=True, tag="lane.configured"):
    """The lane's limits from now on."""

    lane: str
    limit: int | None = None  # slots; None: as the definitions say
    rate_per_s: float | None = None  # grants a second
    paused: bool = False
    by: str = ""


class LaneGranted(SlotDecision, frozen=True, tag="lane.granted"):
    """A slot is given; the same append tells the run (`slot.granted`)."""


class LaneRefused(SlotDecision, frozen=True, tag="lane.refused"):
    """Too many wait: the same append tells the run (`slot.refused`)."""


class LaneCancelling(SlotDecision, frozen=True, tag="lane.cancelling"):
    """A run that waits takes the place of this holder: the same append asks the holder to end."""

    by_run: str


class LaneCheckpointed(Decision, frozen=True, tag="lane.checkpointed"):
    """The lane's whole state, in parts: what stands before the first is not needed any more."""

    state: dict[str, Any]
