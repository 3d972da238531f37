"""Chains of steps that one worker runs by itself: which steps, and that the log stays the whole truth."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.events import BegunStep, NextStep, OutputRef, Payload
from agentflow_common.runs.state import RunStatus, StepStatus
from agentflow_scheduler.bounds import CHAIN_STEPS
from agentflow_scheduler.replay.state_hash import state_hash
from agentflow_scheduler.runs import chain
from agentflow_worker import machine as worker
from tests.support.definitions import edges, function, in_order, workflow
from tests.support.events import base
from tests.support.run_driver import RunDriver
from tests.support.transitions import impossible_events

OWN: dict[str, Any] = base(ts=1_000)


class ChainRun(RunDriver):
    """A run whose decisions a test asks for, since a worker may go on by itself."""

    def __init__(self, definition: dict[str, Any], inputs: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(definition, **options)
        self.at(1_000)
        self.start(self.submission(inputs, deadline_ms=60_000))

    def task(self) -> ev.StepScheduled:
        """Decides; returns the one task that was offered, as a worker reads it."""
        (task,) = [decision for decision in self.decide().made if isinstance(decision, ev.StepScheduled)]
        return ev.decode(ev.encode(task))  # type: ignore[return-value]

    def asks(self, event: ev.Event) -> bool:
        """Applies a fact; returns True if there is something to decide."""
        self.apply(event)
        return not self.run.worker_continues(event)

    def done(self, step: str, value: Any = None, then: str = "") -> bool:
        """A step is done, and its worker goes on with `then`. Returns True if there is something to decide."""
        begun = BegunStep(then, "function") if then else None
        return self.asks(ev.StepCompleted(**OWN, step=step, attempt=1, output=Payload(value=value), begun=begun))


def test_a_chain_of_steps_goes_to_one_worker_and_the_scheduler_decides_its_end_alone() -> None:
    run = ChainRun(in_order(function("a"), function("b", inputs={"x": "a.output.n", "y": "{{seed}}", "z": [1]}),
                    function("c", inputs={"all": "b.output", "first": "a.output"})), {"seed": 7})  # fmt: skip
    task = run.task()
    assert task.step == "a"
    assert task.then == (
        NextStep("b", "function", {"function_name": "f"}, {"y": 7, "z": [1]}, {"x": OutputRef("a", ("n",))}),
        NextStep("c", "function", {"function_name": "f"}, {}, {"all": OutputRef("b"), "first": OutputRef("a")}),
    )
    assert not run.done("a", {"n": 4}, then="b")
    second = worker.following(task, {"a": {"n": 4}})
    assert second is not None
    assert (second.step, second.attempt, second.inputs) == ("b", 1, {"x": 4, "y": 7, "z": [1]})
    assert not run.done("b", [2], then="c")
    third = worker.following(second, {"a": {"n": 4}, "b": [2]})
    assert third is not None
    assert third.inputs == {"all": [2], "first": {"n": 4}}
    assert worker.following(third, {}) is None
    assert run.done("c", "end")
    (end,) = run.decide().made
    assert isinstance(end, ev.RunCompleted)
    assert end.output.value == {"c": "end"}
    run.check_log()


@pytest.mark.parametrize(
    "second",
    [
        function("b", condition="a.output.n > 1"),
        function("b", policy={"timeout_ms": 1_000}),
        function("b", policy={"total_timeout_ms": 1_000}),
        function("b", policy={"heartbeat_ms": 1_000}),
        function("b", lane="gpu"),
        function("b", lane="x-{{tags.k}}"),
        function("b", priority=3),
        function("b", config={"parallel": True, "for_each": "xs"}, inputs={"xs": [1]}),
        function("b", compensate_with={"type": "function", "config": {"function_name": "g"}}),
        function("b", inputs={"x": "{{a.output.n + 1}}"}),
        function("b", inputs={"x": "a.status"}),
        function("b", inputs={"x": {"inner": "a.output"}}),
        {"id": "b", "type": "llm", "config": {"prompt_ref": "p@1"}},
        {"id": "b", "type": "wait", "config": {"duration": "1s"}},
    ],
    ids=str,
)
def test_what_is_the_schedulers_to_decide_ends_the_chain(second: dict[str, Any]) -> None:
    assert ChainRun(in_order(function("a"), second, function("c"))).task().then == ()


def test_a_step_in_a_keyed_lane_keeps_its_slot_for_itself_alone() -> None:
    run = ChainRun(in_order(function("a", lane="x-{{org}}"), function("b"), function("c")))
    run.decide()
    assert run.asks(ev.SlotGranted(**OWN, step="a", attempt=1, lane="x-o"))
    assert run.task().then == ()


def test_a_fork_a_join_a_condition_and_a_back_edge_end_the_chain() -> None:
    nodes = [*map(function, "abcd")]
    diamond = edges("a b", "a c", "b d", "c d")
    run = ChainRun(workflow(*nodes, edges=diamond))
    assert run.task().then == ()
    run.done("a")
    assert [d.then for d in run.decide().made if isinstance(d, ev.StepScheduled)] == [(), ()]
    run.done("b")
    assert run.decide().made == []
    run.done("c")
    assert run.task().step == "d"
    links = edges("a b", condition="a.output.n > 1")
    assert ChainRun(workflow(*nodes[:2], edges=links)).task().then == ()
    loop = edges("a b") + edges("b a", condition="b.output.n > 1", max_iterations=2)
    assert ChainRun(workflow(*nodes[:2], edges=loop)).task().then == ()


def test_a_chain_is_bounded_and_goes_on_with_the_next_task() -> None:
    count = CHAIN_STEPS + 3
    run = ChainRun(in_order(*(function(f"s{index}") for index in range(count))))
    task = run.task()
    assert [step.step for step in task.then] == [f"s{index}" for index in range(1, CHAIN_STEPS + 1)]
    for index in range(CHAIN_STEPS):
        assert not run.done(f"s{index}", then=f"s{index + 1}")
    assert run.done(f"s{CHAIN_STEPS}")
    following = run.task()
    assert (following.step, len(following.then)) == (f"s{CHAIN_STEPS + 1}", 1)
    wide = ChainRun(in_order(*(function(f"s{index}", {"x": "y" * (chain.BYTES_MAX // 3)}) for index in range(5))))
    assert len(wide.task().then) == 2


def test_chains_can_be_switched_off() -> None:
    assert ChainRun(in_order(function("a"), function("b")), chain_steps=0).task().then == ()


def test_after_a_slow_step_each_has_a_task_of_its_own() -> None:
    run = ChainRun(in_order(function("a"), function("b"), function("c")))
    assert len(run.task().then) == 2
    slow = ev.StepCompleted(
        org="o", run="run_1", ts=1_000 + chain.SLOW_MS + 1, step="a", attempt=1, started_at=1_000, worker="w"
    )
    assert run.asks(slow)
    assert run.task().then == ()


@pytest.mark.parametrize("kind", [ev.RunCancelRequested, ev.RunPauseRequested])
def test_a_control_that_comes_while_a_worker_goes_on_is_decided(kind: Any) -> None:
    run = ChainRun(in_order(function("a"), function("b"), function("c")))
    run.task()
    assert run.asks(kind(**OWN))
    assert run.done("a", then="b"), "there is something to decide"
    decided = run.decide().made
    if kind is ev.RunCancelRequested:
        assert [d.step for d in decided if isinstance(d, ev.StepCancelled)] == ["b"]
        assert run.status is RunStatus.CANCELLED
    else:
        assert run.status is RunStatus.PAUSED
        assert run.done("b")
        assert run.decide().made == []
        assert run.asks(ev.RunResumeRequested(**OWN))
        assert run.task().step == "c"


def test_a_late_word_begins_nothing() -> None:
    run = ChainRun(in_order(function("a"), function("b"), function("c")))
    run.task()
    run.done("a")
    assert run.task().step == "b"
    before, known = state_hash(run.state), run.state.facts_seq
    assert run.done("a", then="c"), "the attempt was over"
    run.state.facts_seq = known
    assert state_hash(run.state) == before


def _later(names: list[str], upto: int) -> list[ev.Event]:
    return [
        ev.StepCompleted(**OWN, step=a, attempt=1, output=Payload(value=a), begun=BegunStep(b, "function"), worker="w")
        for a, b in itertools.pairwise(names[: upto + 1])
    ]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 8), st.data())
def test_the_log_tells_at_which_step_a_task_is(count: int, data: st.DataObject) -> None:
    names = [f"s{index}" for index in range(count)]
    steps = tuple(NextStep(name, "function", {}) for name in names[1:])
    task = ev.StepScheduled(**OWN, step="s0", attempt=1, lane="d", kind="function", config={}, then=steps)
    at = data.draw(st.integers(0, count - 1))
    later = _later(names, at)
    own = {**OWN, "step": names[at], "attempt": 1}
    noise: list[ev.Event] = [
        ev.StepStarted(**own, worker="w"), *later[:1], ev.StepCompleted(**{**own, "attempt": 2}),
        ev.RunPaused(**OWN), ev.StepCancelled(**{**own, "step": "other"}),
    ]  # fmt: skip
    for event in data.draw(st.permutations(noise)):
        later.insert(data.draw(st.integers(at, len(later))), event)
    found = worker.position(task, later)
    given = {name: Payload(value=name) for name in names[:at]}
    assert found == worker.Position(names[at], given, "w" if at else "")
    over = data.draw(
        st.sampled_from([
            ev.StepCompleted(**own), ev.StepFailed(**own, error=ev.StepError("E", "m")), ev.StepCancelled(**own),
            ev.StepTimedOut(**own, timeout_ms=1), ev.StepOutcomeUnknown(**own), ev.RunCancelled(**OWN),
            ev.StepScheduled(**own, lane="d", kind="function", config={}),
        ])
    )  # fmt: skip
    assert worker.position(task, [*later, over]) is None


def _written_together(reports: list[Any], data: st.DataObject) -> list[Any]:
    """The reports in the order in which they were done, some of them in one event."""
    cuts = [0, *(at for at in range(1, len(reports)) if data.draw(st.booleans())), len(reports)]
    return [worker.together(reports[a:b]) for a, b in itertools.pairwise(cuts) if a < b]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 8), st.data())
def test_a_task_is_where_it_is_however_its_steps_were_reported(count: int, data: st.DataObject) -> None:
    names = [f"s{index}" for index in range(count)]
    steps = tuple(NextStep(name, "function", {}) for name in names[1:])
    task = ev.StepScheduled(**OWN, step="s0", attempt=1, lane="d", kind="function", config={}, then=steps)
    singly: list[ev.Event] = _later(names, data.draw(st.integers(0, count - 1)))
    if data.draw(st.booleans()):  # the step that it is at was reported, too
        singly.append(ev.StepCompleted(**OWN, step=names[len(singly)], attempt=1, worker="w"))
    together = _written_together(singly, data)
    assert [report for event in together for report in event.reports()] == singly
    assert worker.position(task, together) == worker.position(task, singly)
    closed = ev.StepCancelled(**OWN, step=data.draw(st.sampled_from(names)), attempt=1)
    assert worker.position(task, [*together, closed]) == worker.position(task, [*singly, closed])


_outputs = st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 7), st.integers(1, 2), st.data())
def test_reports_give_the_same_state_together_or_one_by_one(count: int, attempt: int, data: st.DataObject) -> None:
    """In the fold and in the scheduler's memory, at any split; of a step that was closed before they give nothing."""
    nodes = [function(f"s{n}", policy={"retry": {"max_attempts": 2, "initial_ms": 0}}) for n in range(count)]
    done = data.draw(st.integers(1, count))
    reports: list[Any] = []
    for n in range(done):
        goes_on = n + 1 < done or (n + 1 < count and data.draw(st.booleans()))
        begun = BegunStep(f"s{n + 1}", "function") if goes_on else None
        reports.append(
            ev.StepCompleted(
                **OWN, step=f"s{n}", attempt=1 if n else attempt, output=Payload(data.draw(_outputs)), worker="w",
                started_at=1_000 + n, duration_ms=n / 2, redactions={"IBAN_CODE": n} if n % 2 else {}, begun=begun,
            )
        )  # fmt: skip
    closed = data.draw(st.booleans())
    runs = []
    for events in (reports, _written_together(reports, data)):
        run = ChainRun(in_order(*nodes))
        run.task()
        if attempt == 2:
            run.asks(ev.StepFailed(**OWN, step="s0", attempt=1, error=ev.StepError("E", "again")))
            run.task()
        if closed:
            run.asks(ev.RunCancelRequested(**OWN))
            run.decide()
        for event in events:
            run.asks(event)
        runs.append(run)
    singly, together = runs
    assert _apart(singly) == _apart(together)
    one, other = [[msgspec.structs.replace(d, seen=0) for d in run.decide().made] for run in runs]
    assert one == other
    assert impossible_events(together.log) == []
    together.check_log()


def _apart(run: ChainRun) -> tuple[Any, ...]:
    """The state but for sequences, and what the scheduler keeps about it."""
    state = msgspec.structs.replace(run.state, facts_seq=0, out_seq=0)
    its = run.run
    return state_hash(state), list(its.dirty), list(its.in_flight), list(its.external_waits), list(its.decided)


@pytest.mark.parametrize("kind", [ev.StepCancelled, ev.StepTimedOut, ev.StepOutcomeUnknown])
def test_a_report_that_the_scheduler_had_not_seen_begins_nothing(kind: Any) -> None:
    """A step was closed, or reported as unknown, before its report counted."""
    task = ev.StepScheduled(
        **OWN, step="s0", attempt=2, lane="d", kind="tool", config={}, then=(NextStep("s1", "function", {}),)
    )
    done = ev.StepCompleted(**OWN, step="s0", attempt=2, begun=BegunStep("s1", "function"), worker="w")
    more = {"timeout_ms": 1} if kind is ev.StepTimedOut else {}
    closed = kind(**OWN, step="s0", attempt=2, **more)
    assert worker.position(task, [done]) == worker.Position("s1", {"s0": Payload()}, "w")
    assert worker.position(task, [closed, done]) is None
    late = worker.position(task, [done, closed])
    assert (late is None) is (kind is not ev.StepOutcomeUnknown), "a fact is too late, a decision says what it had seen"
    other = kind(**OWN, step="s0", attempt=1, **more)
    assert worker.position(task, [done, other]) is not None


def test_what_can_not_be_read_is_left_to_the_scheduler() -> None:
    step = NextStep("b", "function", {}, {}, {"x": OutputRef("a", ("n", 0))})
    task = ev.StepScheduled(**OWN, step="a", attempt=1, lane="d", kind="function", config={}, then=(step,))
    assert worker.following(task, {}) is None
    assert worker.following(task, {"a": {"m": 1}}) is None
    outputs = {"a": {"n": [[5]]}}
    given = worker.following(task, outputs).inputs  # type: ignore[union-attr]
    assert given == {"x": [5]}
    given["x"].append(6)
    assert outputs == {"a": {"n": [[5]]}}, "what a step does with what it is given is its own"


def test_a_value_is_passed_on_as_it_stands_in_the_log() -> None:
    value = {1: (2, 3), "s": {"x"}}
    assert worker.plain(value) == {"1": [2, 3], "s": ["x"]}
    kept = [1]
    assert worker.plain(kept) is not kept


def test_a_crash_between_the_offer_and_its_end_leaves_a_run_that_decides_the_same() -> None:
    run = ChainRun(in_order(function("a"), function("b"), function("c")))
    run.task()
    run.done("a", then="b")
    before = run.state
    assert run.crash().at(2_000).decide().made == []
    assert run.state.steps["b"].status is StepStatus.SCHEDULED
    assert run.decide().made == []
    assert msgspec.json.encode(before) == msgspec.json.encode(run.state)
