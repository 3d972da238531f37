"""The collector of a turn about a keyed lane: its decisions, and the messages to runs. Pure."""

from __future__ import annotations

from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.lanes.fold import RUN_STEP, LaneState, SlotRequest, evolve
from agentflow_scheduler.decisions import Decisions


class LaneDecisions(Decisions):
    """The decisions of one turn about a lane."""

    def __init__(self, state: LaneState, now_ms: int) -> None:
        super().__init__(state, now_ms, evolve)

    def decide(self, slot: SlotRequest, event_type: type[ev.Decision], **fields: Any) -> None:
        self.emit(event_type, holder_org=slot.org, holder_run=slot.run, step=slot.step, attempt=slot.attempt, **fields)

    def grant(self, slot: SlotRequest) -> None:
        """Notifies a run of the slot that it, or an attempt of it, has."""
        if slot.step == RUN_STEP:
            self._notify(slot, ev.RunSlotGranted, attempt=slot.attempt)
        else:
            self._notify(slot, ev.SlotGranted, step=slot.step, attempt=slot.attempt, asked_at=slot.at)

    def refuse(self, slot: SlotRequest, error: ev.StepError) -> None:
        """Notifies a run that it, or an attempt of it, gets no slot."""
        if slot.step == RUN_STEP:
            self._notify(slot, ev.RunSlotRefused, attempt=slot.attempt, error=error)
        else:
            self._notify(slot, ev.SlotRefused, step=slot.step, attempt=slot.attempt, error=error)

    def ask_to_end(self, holder: SlotRequest, reason: str) -> None:
        by = f"lane {self._state.lane}"
        self.send_to(subjects.key_of(holder.org, holder.run), ev.RunCancelRequested, reason=reason, by=by)

    def _notify(self, slot: SlotRequest, event_type: type[ev.Event], **fields: Any) -> None:
        self.send_to(subjects.key_of(slot.org, slot.run), event_type, lane=self._state.lane, **fields)
