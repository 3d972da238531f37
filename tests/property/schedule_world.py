"""A schedule's log, its timer, the gateway that starts its runs, and the runs: simulated, with crashes."""

from __future__ import annotations

import random
from typing import Any

from agentflow_common import events as ev
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.fold import ScheduleFold
from agentflow_common.schedules.state import TIMER, schedule_id
from agentflow_scheduler.schedules.machine import ACTIVE_MAX, DECISIONS_MAX, Schedule, decide_schedule

T0 = 1_795_245_600_000
ORG, NAME = "acme", "nightly"
ID = schedule_id(ORG, NAME)
BASE: dict[str, Any] = {"org": ORG, "run": ID}
POLICIES = ["skip", "buffer_one", "buffer_all", "cancel", "allow"]


class World:
    """The log, the timer, the gateway that starts runs, and the runs. A crash forgets what is not in the log."""

    def __init__(self, seed: int, spec: dict[str, Any], crashes: bool = True) -> None:
        self.random = random.Random(seed)
        self.now = T0
        self.seq = 0
        self.log: list[tuple[int, ev.Event]] = []
        self.memory: Schedule | None = None
        self.crashes = crashes
        self.timer: tuple[int, ev.TimerFired] | None = None
        self.tasks: list[ev.ScheduleFired] = []
        self.runs: dict[str, tuple[int, str]] = {}
        self.cancelled: set[str] = set()
        self.position = 0
        self.fact(ev.ScheduleCreated(**BASE, ts=T0, name=NAME, uid="u1", spec=spec))

    def fact(self, event: Any) -> None:
        self.seq += 1
        self.log.append((self.seq, event))

    def spec(self) -> schedule_spec.Spec:
        return schedule_spec.trusted(self.folded().spec)

    def folded(self) -> Any:
        fold = ScheduleFold()
        for seq, event in self.log:
            fold.add(event, seq)
        return fold.finish()

    def load(self) -> Schedule:
        if self.memory is None:
            state = self.folded()
            self.memory, self.position = Schedule(state), self.seq
            if TIMER in state.timers:
                self._set(state.timers[TIMER].fire_at)
        for seq, event in self.log[self.position :]:  # sequences start at 1 and have no gap
            if not isinstance(event, ev.Decision):
                self.memory.apply(event, seq)
        self.position = self.seq
        return self.memory

    def _set(self, fire_at: int) -> None:
        self.timer = (fire_at, ev.TimerFired(**BASE, ts=fire_at, timer=TIMER, kind="schedule"))

    def turn(self) -> None:
        """Folds what is new, decides, appends; now and then only a part of it is written and all memory is lost."""
        schedule = self.load()
        out = decide_schedule(schedule, self.now)
        assert len(out.decisions) <= DECISIONS_MAX + ACTIVE_MAX
        spec = schedule.state.spec
        bounds = {"skip": 0, "allow": 0, "buffer_all": spec.get("buffer_max", 100)}
        assert len(schedule.state.buffer) <= bounds.get(spec.get("overlap", "skip"), 1)
        written = list(out.decisions)
        died = self.crashes and self.random.random() < 0.25
        if died:  # decisions that send something to others are appended with it, all or nothing
            written = [] if out.sends else written[: self.random.randrange(len(written) + 1)]
        for decision in written:
            self.seq += 1
            self.log.append((self.seq, decision))
            schedule.state.out_seq = self.seq
            if isinstance(decision, ev.ScheduleFired):
                self.tasks.append(decision)
        if len(written) == len(out.decisions):
            self.cancelled.update(event.run for _, event in out.sends if isinstance(event, ev.RunCancelRequested))
        if died:
            self.memory = None
            return
        for decision in written:
            if isinstance(decision, ev.TimerSet):
                self._set(decision.fire_at)

    def gateway(self) -> None:
        """Starts the runs of the tasks; a crash between the two appends has the task delivered again."""
        for task in list(self.tasks):
            self.runs.setdefault(task.child, (task.number, "running"))
            if self.crashes and self.random.random() < 0.2:
                continue
            self.tasks.remove(task)
            self.fact(ev.ScheduleStarted(**BASE, ts=self.now, number=task.number, child=task.child))

    def end(self, child: str) -> None:
        number, _ = self.runs[child]
        self.runs[child] = (number, "completed")
        self.fact(ev.ChildEnded(**BASE, ts=self.now, step="", attempt=number, child=child, status="completed"))

    def running(self) -> list[str]:
        return [child for child, (_, status) in self.runs.items() if status == "running"]

    def wait(self, ms: int) -> None:
        """Time passes; the timer fires on its way, once, or late."""
        self.now += ms
        if self.timer is not None and self.timer[0] <= self.now:
            fired = self.timer[1]
            self.timer = None
            self.fact(fired)

    def of(self, kind: type[ev.Event]) -> list[Any]:
        return [event for _, event in self.log if isinstance(event, kind)]

    def play(self, steps: int, control: bool) -> None:
        for number in range(steps):
            choice = self.random.random()
            if choice < 0.35:
                self.wait(self.random.choice([200, 1_000, 3_000, 15_000]))
            elif choice < 0.5:
                self.gateway()
            elif choice < 0.65 and self.running():
                self.end(self.random.choice(self.running()))
            elif choice < 0.7 and control:
                self.control(number)
            self.turn()

    def control(self, number: int) -> None:
        choice = self.random.randrange(5)
        at: dict[str, Any] = {**BASE, "ts": self.now}
        if choice == 0:
            self.fact(ev.SchedulePaused(**at))
        elif choice == 1:
            self.fact(ev.ScheduleResumed(**at))
        elif choice == 2:
            kind = self.random.choice(["manual", "webhook", "subject"])
            event = ev.ScheduleTriggered(**at, id=f"d{self.random.randrange(number + 1)}", kind=kind)
            self.fact(event)
            if self.random.random() < 0.3:
                self.fact(event)  # delivered twice
        elif choice == 3:
            self.fact(
                ev.ScheduleBackfillRequested(
                    **at,
                    id=f"b{number}",
                    start=T0,
                    end=min(self.now, T0 + 40_000),
                    overlap=self.random.choice(["allow", "buffer_all"]),
                )
            )
        else:
            self.fact(ev.ScheduleUpdated(**at, spec={**self.folded().spec, "tags": {"n": str(number)}}))

    def settle(self) -> None:
        """No more crashes; everything that runs ends."""
        self.crashes = False
        for _ in range(400):
            self.wait(1_000)
            self.gateway()
            for child in self.running():
                self.end(child)
            self.turn()
        self.gateway()


def spec_of(**more: Any) -> dict[str, Any]:
    return schedule_spec.parse({"name": NAME, "workflow": "report", "cron": "@every 5s", **more}).canonical()


def decided(world: World) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Planned times that fired, and (first, last, count) of those that were passed over."""
    fired = [e.at for e in world.of(ev.ScheduleFired) if e.cause == "time"]
    skipped = [(e.at, e.until or e.at, e.count) for e in world.of(ev.ScheduleSkipped) if e.cause == "time"]
    return fired, skipped
