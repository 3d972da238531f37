"""The effects of an append: timers are set, workers are asked to stop, ended runs leave memory."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import subjects, telemetry
from agentflow_common.log.event_log import EventLog
from agentflow_common.metrics import workflow
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.engine.append import Turn
from agentflow_scheduler.engine.log_trim import Trimmer
from agentflow_scheduler.engine.memory import Memory
from agentflow_scheduler.engine.timers import purge_timers, set_timers
from agentflow_scheduler.entities import is_over
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.shards.shards import Shards

WAITS: Final = frozenset({"wait", "approval", "signal", "subworkflow"})  # kinds of steps that no worker runs


class Publisher:
    """Carries out decisions once they are in the log."""

    def __init__(self, event_log: EventLog, memory: Memory, shards: Shards) -> None:
        self._log = event_log
        self._memory = memory
        self._shards = shards
        self.trimmer = Trimmer(event_log)
        self._background: set[asyncio.Task[Any]] = set()

    async def publish(self, turns: list[Turn]) -> None:
        """Publishes what follows from turns that were appended."""
        timers: list[tuple[EntityKey, str, Any]] = []
        for turn in turns:
            self._shards.saver.count(turn.key.shard, len(turn.decisions))
            timers.extend((turn.key, d.timer, d) for d in turn.decisions if isinstance(d, ev.TimerSet))
            if isinstance(turn.entity, Run):
                await self._publish_run(turn, turn.entity)
            else:
                self.trimmer.after(turn.key, turn.entity)
                if is_over(turn.key, turn.entity.state):
                    self._memory.drop(turn.key)
        if timers:
            await set_timers(self._log, timers)

    async def _publish_run(self, turn: Turn, run: Run) -> None:
        for decision in turn.decisions:
            if isinstance(decision, ev.StepScheduled):
                if decision.attempt > 1:
                    workflow.STEP_RETRIES.labels(run.plan.workflow).inc()
            elif isinstance(decision, ev.RunStarted):
                workflow.RUNS_STARTED.labels(run.plan.workflow).inc()
            elif isinstance(decision, ev.TimerSet):
                run.used_timers = True
            elif isinstance(decision, ev.StepCancelled | ev.StepTimedOut):
                await self._hint(turn.key, decision.step, decision.attempt, "forced")
            elif isinstance(decision, ev.RunCancelling):
                await self._hint(turn.key, "", 0, "graceful")
            elif isinstance(decision, ev.TERMINAL_RUN):
                self._finish(turn.key, run, decision)

    async def _hint(self, key: EntityKey, step: str, attempt: int, mode: str) -> None:
        """Asks workers to stop. A worker that misses it looks into the log."""
        hint = {"run": key.name, "step": step, "attempt": attempt, "mode": mode}
        await self._log.nc.publish(subjects.control(key.name), msgspec.json.encode(hint))

    def _finish(self, key: EntityKey, run: Run, decision: ev.RunCompleted | ev.RunFailed | ev.RunCancelled) -> None:
        state = run.state
        name = run.plan.workflow
        workflow.RUNS.labels(str(state.status), name).inc()
        workflow.RUN_SECONDS.labels(str(state.status), name).observe(decision.duration_ms / 1000)
        workflow.RUN_COST_CENTS.labels(name).observe(state.cost_nano / 10_000_000)
        for step in state.steps.values():
            if step.kind in WAITS and step.finished_at and (began := step.scheduled_at or step.started_at):
                workflow.STEP_WAIT_SECONDS.labels(name, step.kind).observe((step.finished_at - began) / 1000)
        with telemetry.span("run", state.trace, workflow=name, status=str(state.status), run=state.run):
            self._memory.drop(key)
        if run.used_timers:
            task = asyncio.ensure_future(purge_timers(self._log, key))
            self._background.add(task)
            task.add_done_callback(self._background.discard)
