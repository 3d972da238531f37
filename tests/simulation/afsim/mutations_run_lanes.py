"""Bugs to plant in run lanes. See mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentflow_common import events as ev
from agentflow_common.lanes import fold as lane_fold
from agentflow_common.lanes.fold import LaneState
from agentflow_common.runs.fold_facts import FACTS
from agentflow_common.runs.state import RunState, RunStatus
from agentflow_scheduler.runs import run_slots
from agentflow_scheduler.runs.steps import subworkflows

Change = tuple[Any, Any, Any]


def run_slot_kept_on_cancel() -> list[Change]:
    """A run that is cancelled does not give its slot back."""
    real = run_slots.give_back

    def give_back(state: RunState, out: Any) -> None:
        if state.status is not RunStatus.CANCELLED:
            real(state, out)

    return [(run_slots, "give_back", give_back)]


def run_begins_while_it_waits() -> list[Change]:
    """A run asks for a slot and does not wait for it."""
    real = run_slots.admit

    def admit(run: Any, out: Any) -> bool:
        real(run, out)
        return True

    return [(run_slots, "admit", admit)]


def newcomer_does_not_wait() -> list[Change]:
    """A lane gives the slot of a run that it has asked to end before the run has ended."""

    def limit(self: LaneState) -> int:
        declared = self.limit_declared if self.config.limit is None else self.config.limit
        return declared + sum(slot.cancelling for slot in self.holders.values())

    return [(LaneState, "limit", property(limit))]


def chain_gives_its_slot_up() -> list[Change]:
    """A run that goes on as a new one gives the slot to others, and the new run goes on without one."""
    return [(run_slots, "hand_over", lambda state, out, _successor: run_slots.give_back(state, out))]


def chain_leaks_its_slot() -> list[Change]:
    """The lane does not note that a run goes on as a new one."""
    return [(lane_fold._FACTS, ev.LaneMoved, lambda *_: None)]


def refused_run_begins() -> list[Change]:
    """A run takes the refusal of its lane for a slot."""

    def refused(state: RunState, event: ev.RunSlotRefused) -> None:
        state.slot_granted = state.slot_granted or event.lane == state.run_lane

    return [(FACTS, ev.RunSlotRefused, refused)]


def second_slot_not_asked() -> list[Change]:
    """A run takes a slot of one of its two lanes, and begins."""
    real = run_slots._ask
    return [(run_slots, "_ask", lambda state, out, lanes: real(state, out, lanes[:1]))]


def first_slot_leaks() -> list[Change]:
    """A run that has slots of two lanes gives back the second one only."""
    return [(run_slots, "_own", lambda state: (state.run_lane,) if state.run_lane else ())]


def given_lane_forgotten() -> list[Change]:
    """The run of a subworkflow does not take a slot of the lane that its step gives it."""
    real = subworkflows.submit

    def submit(*args: Any, **fields: Any) -> None:
        real(*args, **{**fields, "given_lane": None})

    return [(subworkflows, "submit", submit)]


ALL: tuple[Callable[[], list[Change]], ...] = (
    run_slot_kept_on_cancel, run_begins_while_it_waits, newcomer_does_not_wait, chain_gives_its_slot_up,
    chain_leaks_its_slot, refused_run_begins, second_slot_not_asked, first_slot_leaks, given_lane_forgotten,
)  # fmt: skip
