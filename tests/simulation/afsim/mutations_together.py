"""Bugs to plant in reports that are written together. See mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import ConflictError
from agentflow_common.log.event_log import Fence
from agentflow_common.runs import fold_facts
from agentflow_worker import machine
from agentflow_worker.machine import Position
from agentflow_worker.tasks import in_hand, kept_reports, reports
from agentflow_worker.tasks.kept_reports import Written

Change = tuple[Any, Any, Any]


def early_steps_lost() -> list[Change]:
    """The fold sees only the newest of the steps that were reported together."""
    return [(fold_facts.FACTS, ev.StepCompleted, fold_facts._complete)]


def early_steps_unnoticed() -> list[Change]:
    """Whoever gets a task again sees only the newest of the steps that were reported together."""
    real = machine.position

    def position(task: Any, later: Any) -> Position | None:
        return real(
            task,
            [msgspec.structs.replace(e, before=()) if isinstance(e, ev.StepCompleted) else e for e in later],
        )

    return [(machine, "position", position)]


def all_written_when_refused() -> list[Change]:
    """What the fence refuses is written all the same, though the later steps never began."""
    real = reports.Reporter.write

    async def write(self: Any, chain: Any, events: Any) -> Written:
        event = machine.together(events)
        if not event.before:
            return await real(self, chain, events)
        try:
            fence = Fence(chain.delivery.seq, subjects.run_out_all(chain.key))
            return Written(await self.send(chain, event, "end", fence), whole=True)
        except ConflictError:
            return Written(await self.send(chain, msgspec.structs.replace(event, begun=None), "end"), whole=False)

    return [(reports.Reporter, "write", write)]


def refusal_unheeded() -> list[Change]:
    """A step that has not begun as far as the log knows is reported as if it had."""
    real = kept_reports.KeptReports.early

    async def early(self: Any) -> Written | None:
        written = await real(self)
        return written and Written(written.ack, whole=True)

    return [(kept_reports.KeptReports, "early", early), (in_hand.AttemptsInHand, "leave", lambda *_: None)]


ALL: tuple[Callable[[], list[Change]], ...] = (
    early_steps_lost, early_steps_unnoticed, all_written_when_refused, refusal_unheeded,
)  # fmt: skip
