"""Everybody outside the engine: who submits, cancels, pauses, answers, sends signals; and the gateway's firing of
schedules. What they say is never lost, but late, early or said twice."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec

from afsim import locks, pauses, rich, run_lanes
from afsim.server import Message
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.events import Payload, StepError
from agentflow_common.lanes.controls import control_key
from agentflow_common.schedules.spec import Spec
from agentflow_common.subjects import EntityKey

if TYPE_CHECKING:
    from afsim.world import World

SCHEDULE = "sched_1"


class People:
    """Listens to the log. rng: their own, so that what they do changes nothing of the faults."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = random.Random(world.seed ^ 0xBEEF)
        # By lane: the highest limit that was ever set
        self.limits = {**rich.LANE_LIMITS, **run_lanes.LIMITS, **run_lanes.GIVEN, **locks.LIMITS}
        self._signals = 0
        self._started: set[str] = set()

    @property
    def schedule(self) -> EntityKey:
        return subjects.key_of("o", SCHEDULE)  # where the world's few shards put it

    def after(self, delay_s: float, work: Any, *args: Any) -> None:
        self.world.loop.call_later(delay_s, work, *args, context=self.world.outside)

    def say(self, key: EntityKey, event: ev.Event) -> None:
        self.world.server.append(subjects.run_in(key), ev.encode(event), "gateway")

    def names(self, key: EntityKey) -> dict[str, Any]:
        return {"org": key.org, "run": key.name, "ts": self.world.server.now_ms()}

    def soon(self) -> float:
        return self.rng.choice([0.0, 0.02, 0.5, 2.0, 6.0]) * (0.5 + self.rng.random())

    # --- what is asked of a run ---

    def bother(self, key: EntityKey) -> None:
        """Cancels, pauses, early signals."""
        rng = self.rng
        if rng.random() < 0.25:
            asked = {"reason": "enough", "grace_ms": rng.choice([0, 0, 800, 5000]), "force": rng.random() < 0.15}
            after_s = rng.choice([0.0, 0.01, 0.5, 2.0, 5.0, 12.0])
            self.after(after_s, lambda: self.say(key, ev.RunCancelRequested(**self.names(key), **asked)))
            if rng.random() < 0.3:
                later_s = after_s + rng.choice([0.3, 2.0])
                self.after(later_s, lambda: self.say(key, ev.RunCancelRequested(**self.names(key), force=True)))
        if rng.random() < 0.2:
            at_s, length_s = rng.random() * 6, rng.choice([0.1, 2.0, 8.0])
            end = self._pause_end(key.name, at_s + length_s)
            self.after(at_s, lambda: self.say(key, ev.RunPauseRequested(**self.names(key), until=end.until)))
            if not end.by_itself:
                self.after(at_s + length_s, lambda: self.say(key, ev.RunResumeRequested(**self.names(key))))
        if rng.random() < 0.2:
            self.after(rng.random(), self._signal, key, "s")

    def operate(self) -> None:
        """Pauses the workflow for a while, changes a lane's limit, has a schedule."""
        rng, loop = self.rng, self.world.loop
        if rng.random() < 0.15:
            at_s = rng.random() * 12
            length_s = rng.choice([0.5, 5.0])
            end = self._pause_end("w", at_s + length_s)
            self.after(at_s, self._control, "workflow.o.w", {"paused": True, "paused_until": end.until})
            if not end.by_itself:
                self.after(at_s + length_s, self._control, "workflow.o.w", {"paused": False})
        if rng.random() < 0.2:
            lane = rng.choice(list(rich.LANE_LIMITS))
            limit = rng.choice([1, 2, 3])
            self.limits[lane] = max(self.limits[lane], limit)
            self.after(rng.random() * 12, self._control, control_key(lane), {"limit": limit})
        if rng.random() < 0.3:
            self.after(rng.random() * 5, self._create_schedule)
            self.after(30.0 - loop.time(), self._end_schedule)

    def _pause_end(self, name: str, after_s: float) -> pauses.End:
        return pauses.end_of(self.world.seed, name, self.world.server.now_ms() + round(after_s * 1000))

    def _control(self, key: str, value: dict[str, Any]) -> None:
        subject = f"$KV.{subjects.CONTROLS_BUCKET}.{key}"
        self.world.server.append(subject, msgspec.json.encode(value), "gateway")

    def _signal(self, key: EntityKey, name: str) -> None:
        self._signals += 1
        event = ev.SignalReceived(
            **self.names(key), name=name, id=f"id{self._signals}", payload=Payload(value=self._signals)
        )
        self.say(key, event)
        if self.rng.random() < 0.2:
            self.say(key, event)

    # --- what the log says ---

    def read(self, message: Message) -> None:
        """Called with every message of a run's log."""
        key = subjects.parse(message.subject)
        if key is None or key.org != "o":
            return
        if b'"step.waiting"' in message.data or b'"step.outcome_unknown"' in message.data:
            event = ev.decode(message.data)
            if isinstance(event, ev.StepOutcomeUnknown):
                self.after(self.soon(), self._resolve, key, event)
            elif isinstance(event, ev.StepWaiting) and event.kind == "signal":
                self.after(self.soon(), self._signal, key, str(event.detail["signal"]))
            elif isinstance(event, ev.StepWaiting) and event.kind == "approval":
                for by in ("ana", "bo", "ana", "mallory", "eve"):
                    self.after(self.soon(), self._answer, key, event.step, by)
        elif message.subject.endswith(f".out.task.{subjects.SCHEDULES_POOL}"):
            fired = ev.decode(message.data)
            assert isinstance(fired, ev.ScheduleFired)
            for _ in range(1 + (self.rng.random() < 0.2)):  # a task may be delivered twice
                self.after(self.soon() / 2, self._fire, key, fired)

    def _resolve(self, key: EntityKey, event: ev.StepOutcomeUnknown) -> None:
        outcome = self.rng.choice(["completed", "retry", "fail"])
        self.say(key, ev.OutcomeResolved(**self.names(key), step=event.step, attempt=event.attempt, outcome=outcome))

    def _answer(self, key: EntityKey, step: str, by: str) -> None:
        decision = "reject" if self.rng.random() < 0.05 else "approve"
        self.say(key, ev.ApprovalGiven(**self.names(key), step=step, decision=decision, by=by))

    # --- schedules ---

    def _create_schedule(self) -> None:
        spec = Spec(**rich.scheduled(self.rng)).canonical()
        self.say(self.schedule, ev.ScheduleCreated(**self.names(self.schedule), name="often", uid="u1", spec=spec))
        if self.rng.random() < 0.3:
            at_s = self.rng.random() * 10
            self.after(at_s, lambda: self.say(self.schedule, ev.SchedulePaused(**self.names(self.schedule))))
            self.after(at_s + 4.5, lambda: self.say(self.schedule, ev.ScheduleResumed(**self.names(self.schedule))))
        if self.rng.random() < 0.3:
            asked = ev.ScheduleTriggered(**self.names(self.schedule), id="t1", kind="manual")
            self.after(self.rng.random() * 9, self.say, self.schedule, asked)
            self.after(9.0, self.say, self.schedule, asked)

    def _end_schedule(self) -> None:
        self.say(self.schedule, ev.ScheduleDeleted(**self.names(self.schedule)))

    def _fire(self, key: EntityKey, fired: ev.ScheduleFired) -> None:
        """What agentflow_gateway.schedules.firing does: submit once, tell the schedule once."""
        child = subjects.key_of("o", fired.child)
        names = {**self.names(key), "number": fired.number, "child": fired.child}
        if not self.world.server.newest.get(subjects.run_in(child)):
            if fired.child in self._started:
                return  # it was refused
            if self.rng.random() < 0.1:
                self._started.add(fired.child)
                self.say(key, ev.ScheduleRefused(**names, error=StepError("E", "refused", retryable=False)))
                return
            self.world.submit(
                child, rich.CHILDREN["child"], parent=ev.ParentRef(fired.run, "", fired.number),
                origin=ev.OriginRef(fired.run, "schedule"), given_lane=run_lanes.of_schedule(self.world.seed),
            )  # fmt: skip
        if fired.child not in self._started:
            self._started.add(fired.child)
            self.say(key, ev.ScheduleStarted(**names))
