"""The window of offered steps: never too many, never idle while somebody waits, and in fair order."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common.subjects import EntityKey, key_of
from agentflow_scheduler.fairness import Waiter, Window


def in_flight(window: Window, pool: str) -> int:
    """Returns how many steps are offered to the pool and not done."""
    state = window._pools.get(pool)
    return state.total - sum(state.promised.values()) if state else 0


class Engine:
    """Runs with steps to offer, decided as the scheduler decides them; the window's answers are checked on the way."""

    def __init__(self, steps_max: int, quantum: int, seed: int) -> None:
        self.steps_max = steps_max
        self.window = Window(steps_max, quantum)
        self.random = random.Random(seed)
        self.todo: dict[EntityKey, Counter[str]] = {}
        self.waiters: dict[EntityKey, Waiter] = {}
        self.under_way: dict[EntityKey, dict[str, str]] = {}
        self.offered: list[tuple[str, EntityKey]] = []

    def submit(self, org: str, priority: int, since: int, steps: dict[str, int]) -> EntityKey:
        run = key_of(org, f"run_{len(self.waiters)}")
        self.waiters[run] = Waiter(run, priority, since)
        self.todo[run] = Counter(steps)
        self.under_way[run] = {}
        self.decide(run)
        return run

    def decide(self, run: EntityKey) -> None:
        budget = self.window.budget(run)
        for pool in list(self.todo[run]):
            while self.todo[run][pool] and budget.take(pool):
                self.todo[run][pool] -= 1
                step = f"s{len(self.offered)}"
                self.offered.append((pool, run))
                self.under_way[run][step] = pool
                self.window.opened(run, step, pool)
                if self.random.random() < 0.1:
                    self.window.opened(run, step, pool)
        self.window.settle(self.waiters[run], budget.denied)

    def turn(self) -> None:
        """Until nobody may go on: then all room is taken, or nobody wants it."""
        while runs := self.window.grants():
            for run in runs:
                self.decide(run)
            self.check()
        for pool in ("p", "q"):
            wanted = sum(todo[pool] for todo in self.todo.values())
            assert in_flight(self.window, pool) == self.steps_max or not wanted
        assert len(self.window.waiting()) == sum(any(todo.values()) for todo in self.todo.values())

    def check(self) -> None:
        for pool in ("p", "q"):
            count = sum(where == pool for steps in self.under_way.values() for where in steps.values())
            assert in_flight(self.window, pool) == count <= self.steps_max

    def finish(self, run: EntityKey) -> None:
        if self.under_way[run]:
            step = self.random.choice(list(self.under_way[run]))
            del self.under_way[run][step]
            self.window.closed(run, step)
            self.window.closed(run, step)

    def forget(self, run: EntityKey) -> None:
        self.todo[run].clear()
        self.under_way[run].clear()
        self.window.forget(run)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 10))
def test_the_window_is_kept_and_never_left_empty(seed: int, steps_max: int, quantum: int) -> None:
    engine = Engine(steps_max, quantum, seed)
    draw = engine.random
    for since in range(60):
        kind = draw.choice(["submit", "submit", "finish", "finish", "finish", "forget"])
        if kind == "submit":
            steps = {"p": draw.choice([0, 1, 3, 50]), "q": draw.choice([0, 0, 2])}
            engine.submit(draw.choice("abc"), draw.choice([0, 0, 4]), since, steps)
        elif engine.waiters:
            run = draw.choice(list(engine.waiters))
            for _ in range(draw.randint(1, 10)):
                engine.finish(run)
            if kind == "forget" and draw.random() < 0.3:
                engine.forget(run)
        engine.check()
        if draw.random() < 0.7:
            engine.turn()
    for run in engine.waiters:
        engine.forget(run)
    assert not engine.window.waiting() and in_flight(engine.window, "p") == in_flight(engine.window, "q") == 0


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 5), st.integers(1, 30))
def test_orgs_share_the_window_whatever_their_backlogs(seed: int, orgs: int, steps_max: int) -> None:
    """From when all have come, each org that has more to offer holds its share, give or take one turn."""
    quantum = 2
    engine = Engine(steps_max, quantum, seed)
    names = "abcde"[:orgs]
    for number, name in enumerate(names):
        for _ in range(engine.random.choice([1, 5])):
            engine.submit(name, 0, number, {"p": engine.random.choice([400, 1000])})
    for _ in range(10 * steps_max):
        busy = [run for run, steps in engine.under_way.items() if steps]
        if not busy:
            break
        engine.finish(engine.random.choice(busy))
        engine.turn()
    held: Counter[str] = Counter(dict.fromkeys(names, 0))
    for run, steps in engine.under_way.items():
        held[run.org] += len(steps)
    with_more = [name for name in names if any(any(t.values()) for r, t in engine.todo.items() if r.org == name)]
    counts = [held[name] for name in with_more]
    assert len(counts) < 2 or max(counts) - min(counts) <= quantum, held


def test_priority_then_org_then_age() -> None:
    engine = Engine(1, 1, 0)
    blocker = engine.submit("x", 0, 0, {"p": 1})
    late = engine.submit("a", 0, 9, {"p": 2})
    early = engine.submit("a", 0, 5, {"p": 1})
    other = engine.submit("b", 0, 10, {"p": 1})
    urgent = engine.submit("a", 7, 11, {"p": 1})
    order: list[EntityKey] = []
    running = blocker
    for _ in range(5):
        engine.finish(running)
        engine.turn()
        running = engine.offered[-1][1]
        order.append(running)
    assert order == [urgent, other, early, late, late]


def test_a_newcomer_does_not_pass_those_who_wait() -> None:
    engine = Engine(2, 1, 0)
    first = engine.submit("a", 0, 0, {"p": 5})
    engine.finish(first)
    newcomer = engine.submit("a", 0, 1, {"p": 1})
    assert engine.under_way[newcomer] == {}
    engine.turn()
    assert engine.offered[-1] == ("p", first)


def test_only_steps_that_are_offered_and_not_done_count_for_a_pool() -> None:
    window = Window(4)
    run, other = key_of("a", "run_1"), key_of("a", "run_2")
    assert window.offered() == {}
    for step in ("s", "t"):
        window.opened(run, step, "gpu")
    window.opened(run, "u", "default")
    window.closed(run, "u")
    window.settle(Waiter(other, 0, 1), {"gpu"})
    assert window.grants() == [other]
    assert window.offered() == {"gpu": 2}, "a promise is not an offer"
    window.forget(run)
    assert window.offered() == {}


def test_a_full_pool_does_not_hold_back_another() -> None:
    engine = Engine(2, 1, 0)
    run = engine.submit("a", 0, 0, {"p": 9, "q": 1})
    assert sorted(engine.under_way[run].values()) == ["p", "p", "q"]
