"""The policies of runs that find no free slot in their run lane. Pure.

Free slots are given first (machine.py). A run that gets one as soon as the rate or a pause allows waits under every
policy. The policies concern the others:

- `queue`: it waits.
- `skip`, `cancel_newest`: it is refused.
- `newest_waits`: the newest waits, and the others with this policy are refused.
- `cancel_running`: the run that has had its slot the longest is asked to end, one for each that waits. The newest wait,
  as many as there are slots.
"""

from __future__ import annotations

import itertools
from typing import Final

from agentflow_common import events as ev
from agentflow_common.events import StepError
from agentflow_common.lanes.fold import LaneState, SlotRequest
from agentflow_scheduler.lanes.decisions import LaneDecisions

NAMED_MAX: Final = 3  # holders in a message
REFUSED: Final = ("skip", "cancel_newest")


def is_particular(slot: SlotRequest) -> bool:
    """True for a run whose policy is another than to wait."""
    return slot.policy not in {"", "queue"}


def particular(state: LaneState) -> dict[str, SlotRequest]:
    """Returns the waiting runs whose policy is another than to wait."""
    return {key: slot for key, slot in state.queue.items() if is_particular(slot)}


def still_waiting(state: LaneState, runs: dict[str, SlotRequest]) -> dict[str, SlotRequest]:
    """Returns those of the runs that still wait."""
    return {key: slot for key, slot in runs.items() if state.queue.get(key) is slot}


def settle(state: LaneState, particular: dict[str, SlotRequest], out: LaneDecisions, most: int) -> None:
    """Follows the policies of the runs that get no slot now, with at most so many decisions in the turn.

    particular: waiting runs whose policy is another than to wait.
    """
    next_ones = set(itertools.islice(state.queue, max(0, state.limit - len(state.holders))))
    crowd = [slot for key, slot in particular.items() if key not in next_ones]
    cancel_running = [slot for slot in crowd if slot.policy == "cancel_running"]
    newest_waits = [slot for slot in crowd if slot.policy == "newest_waits"]
    refused = [(slot, _full(slot, state)) for slot in crowd if slot.policy in REFUSED]
    refused += [(slot, _superseded(state, newest_waits[-1])) for slot in newest_waits[:-1]]
    refused += [(slot, _superseded(state, cancel_running[-1])) for slot in cancel_running[: -state.limit]]
    for slot, error in refused:
        if len(out.decisions) >= most:
            out.more = True
            return
        out.decide(slot, ev.LaneRefused)
        out.refuse(slot, error)
    if not state.paused:
        _take_over(out, state, cancel_running[-state.limit :], most)


def _take_over(out: LaneDecisions, state: LaneState, waiting: list[SlotRequest], most: int) -> None:
    """Asks as many holders to end as slots are missing, those first that have had theirs the longest."""
    ending = sum(slot.cancelling for slot in state.holders.values())
    missing = len(waiting) + max(0, len(state.holders) - state.limit) - ending if waiting else 0
    if missing <= 0:
        return
    others = sorted((slot for slot in state.holders.values() if not slot.cancelling), key=lambda slot: slot.since)
    for number, holder in enumerate(others[:missing]):
        if len(out.decisions) >= most:
            out.more = True
            return
        by = waiting[min(number, len(waiting) - 1)]
        out.decide(holder, ev.LaneCancelling, by_run=by.run)
        reason = f"the run {by.run} takes its slot of the run lane {state.lane}"
        out.ask_to_end(holder, reason)


def _full(slot: SlotRequest, state: LaneState) -> StepError:
    named = ", ".join(holder.place for holder in itertools.islice(state.holders.values(), NAMED_MAX))
    more = f" and {len(state.holders) - NAMED_MAX} more" if len(state.holders) > NAMED_MAX else ""
    text = f"the run lane {state.lane} is full: {len(state.holders)} of {state.limit}, used by {named}{more}"
    return StepError("skipped" if slot.policy == "skip" else "newest_cancelled", text, retryable=False)


def _superseded(state: LaneState, newer: SlotRequest) -> StepError:
    text = f"the newer run {newer.run} waits for the run lane {state.lane} in its place"
    return StepError("superseded", text, retryable=False)
