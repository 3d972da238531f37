"""Each step that is not decided says what it waits for."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.definition.parse import parse_text
from agentflow_common.events import StepError
from agentflow_common.lanes import fold as lane_fold
from agentflow_common.lanes.fold import LaneConfig, LaneState, SlotRequest
from agentflow_common.log.timers import TimerState
from agentflow_common.runs import timer_ids
from agentflow_common.runs.explain import STEPS_MAX, Explanation, explain
from agentflow_common.runs.state import Answer, Ending, RunState, RunStatus, StepState, StepStatus
from agentflow_common.runs.waiting import Pool, Surroundings, Waiting
from tests.support.definitions import BODY, function, workflow
from tests.support.run_driver import RunDriver

TEXT = """\
name: w
dag:
  nodes:
    - {id: a, type: function, config: {function_name: f}}
    - {id: b, type: function, config: {function_name: f, inputs: {v: a.output}}}
    - {id: c, type: function, lane: "{{customer}}", pool: heavy, config: {function_name: f}}
    - {id: ask, type: approval, config: {approvers: [ann, bob], required: 2}}
  edges: [{from: ask, to: b}]
inputs: {customer: {type: string}}
"""
NOW = 1_000_000


def run_state(status: RunStatus = RunStatus.RUNNING, **steps: StepState) -> RunState:
    return RunState(org="o", run="run_1", workflow="w", status=status, steps=dict(steps))


def explained(state: RunState, **around: Any) -> tuple[Explanation, dict[str, Waiting]]:
    found = explain(state, parse_text(TEXT), Surroundings(now_ms=NOW, **around))
    return found, {item.step: item for item in found.waiting}


def waiting_of(step: StepState, **around: Any) -> Waiting:
    return explained(run_state(a=step), **around)[1]["a"]


def test_a_finished_run_waits_for_nothing() -> None:
    state = run_state(RunStatus.FAILED)
    state.error = StepError("broken", "it broke")
    found, _ = explained(state)
    assert found == Explanation("the run has failed: broken: it broke")


def test_dependencies_are_named_with_their_state() -> None:
    steps = explained(run_state(a=StepState(status=StepStatus.RUNNING, started_at=NOW - 65_000, progress=0.5)))[1]
    assert (steps["b"].kind, steps["b"].on) == ("dependency", "ask")
    assert steps["b"].text == "waits for ask (pending), a (running)"
    assert steps["a"].text == "runs on a worker for 1 m 5 s, 50% done"
    assert steps["c"].kind == "scheduler"
    done = explained(run_state(a=StepState(status=StepStatus.COMPLETED), ask=StepState(status=StepStatus.SKIPPED)))[1]
    assert "a" not in done and done["b"].kind == "scheduler"


@pytest.mark.parametrize(
    ("change", "around", "summary", "kind"),
    [
        (
            {"pause_requested": True, "paused_by": "ann", "pause_reason": "lunch"},
            {},
            "paused by ann: lunch",
            "paused_run",
        ),
        ({}, {"workflow_paused": "bug"}, "workflow w is paused: bug (agentctl workflow resume w)", "paused_workflow"),
        (
            {},
            {"workflow_paused": "", "workflow_paused_until": NOW + 90_000},
            "workflow w is paused; that ends by itself in 1 m 30 s (agentctl workflow resume w)",
            "paused_workflow",
        ),
        ({}, {"schedulers": 0}, "no scheduler is running", "scheduler"),
        ({"status": RunStatus.PENDING}, {"schedulers": 1}, "no scheduler has begun it yet", "scheduler"),
        ({}, {"schedulers": 1}, "", "scheduler"),
    ],
)
def test_what_holds_up_the_whole_run(change: dict[str, Any], around: dict[str, Any], summary: str, kind: str) -> None:
    state = run_state()
    for name, value in change.items():
        setattr(state, name, value)
    found, steps = explained(state, **around)
    assert summary in found.summary and bool(summary) == bool(found.summary)
    assert steps["a"].kind == kind


def test_a_cancellation_and_a_compensation_are_told() -> None:
    state = run_state(a=StepState(status=StepStatus.RUNNING))
    state.cancel_requested = True
    state.timers["grace"] = TimerState("grace", NOW + 30_000)
    assert explained(state)[0].summary == "the run is being cancelled; what still runs is closed in 30 s"
    state.cancel_reason = "the order was withdrawn"
    assert "is being cancelled: the order was withdrawn; what" in explained(state)[0].summary
    state.status = RunStatus.CANCELLED
    assert explained(state)[0].summary == "the run was cancelled: the order was withdrawn"
    state.status = RunStatus.COMPLETED  # the request came too late
    assert explained(state)[0].summary == "the run has completed"
    state = run_state(**{"a:undo": StepState(status=StepStatus.RUNNING, started_at=NOW)})
    state.ending = Ending("failed", ("a",))
    found, steps = explained(state)
    assert found.summary == "the run will fail once its steps are compensated"
    assert steps["a:undo"].text == "its compensation runs on a worker for 0 s"
    assert set(steps) == {"a:undo"}
    state.cancel_requested, state.ending = True, Ending("cancelled", ("a",))
    assert explained(state)[0].summary == "the run will be cancelled once its steps are compensated"


def lane(**fields: Any) -> LaneState:
    made = LaneState(org="_lanes", run="lane_x", lane="acme", limit_declared=1, **fields)
    for number, (org, name) in enumerate((("o", "run_9"), ("other", "run_8"))[: fields.get("holders_count", 2)]):
        slot = SlotRequest(org, name, "s", 1, at=number)
        made.holders[slot.key] = slot
    for name in ("run_7", "run_1"):
        slot = SlotRequest("o", name, "a", 1)
        made.queue[slot.key] = slot
    return made


QUEUED = StepState(status=StepStatus.QUEUED, attempt=1, lane="acme", scheduled_at=5)


def test_engine_15_a_full_lane_tells_who_holds_it_and_the_number_in_the_queue() -> None:
    found = waiting_of(QUEUED, lanes={"acme": lane()}, visible_org="o")
    assert (found.kind, found.on, found.since) == ("lane", "acme", 5)
    assert found.text == "lane acme is full: 2 of 1, used by run_9/s and 1 more, number 2 of 2 in the queue"
    assert "run_8" in waiting_of(QUEUED, lanes={"acme": lane()}).text
    assert waiting_of(QUEUED).text == "waits for a slot of lane acme"


def test_a_paused_lane_and_a_rate_are_told_apart_from_a_full_one() -> None:
    paused = waiting_of(QUEUED, lanes={"acme": lane(config=LaneConfig(paused=True))})
    assert (paused.kind, "agentctl lane resume acme" in paused.text) == ("paused_lane", True)
    rated = lane(config=LaneConfig(limit=9, rate_per_s=0.5), tat_us=(NOW + 2000) * 1000)
    found = waiting_of(QUEUED, lanes={"acme": rated})
    assert (found.kind, found.until) == ("rate", NOW + lane_fold.rate_wait_us(rated, NOW) // 1000)
    assert found.text == "lane acme starts at most 30 in a minute, the next one in 2 s, number 2 of 2 in the queue"


def test_a_pause_by_a_pattern_names_it_and_why() -> None:
    paused = {"acme": lane(config=LaneConfig(paused=True))}
    found = waiting_of(QUEUED, lanes=paused, pauses={"acme": ("ac*", "audit", NOW + 60_000)})
    end = "that ends by itself in 1 m (agentctl lane resume acme)"
    assert found.text == f"lane acme is paused by the pattern ac*: audit; {end}"
    pool = Pool(known=False, paused=True, reason="audit", set_as="def*")
    found = waiting_of(StepState(status=StepStatus.SCHEDULED), pools={"default": pool})
    assert found.text == "the pool default is paused by the pattern def*: audit (agentctl lane resume default)"


def test_a_deadline_is_told_while_nothing_else_holds_up_the_run() -> None:
    state = run_state()
    state.deadline_ms, state.submitted_at = 60_000, NOW - 20_000
    assert explained(state)[0].summary == "its deadline ends the run in 40 s"


@pytest.mark.parametrize(
    ("pool", "kind", "said"),
    [
        (None, "worker", "is offered to the worker pool default"),
        (Pool(known=False), "worker", "no worker serves the pool default: start one with WORKER_LANES=default, or "),
        (Pool(queued=3), "worker", "no worker serves the pool default"),
        (Pool(active=4, queued=3), "worker", "4 tasks run, 3 wait"),
        (Pool(asking=2), "running", "is with a worker"),
        (Pool(asking=2, active=5, limit=5, queued=1), "lane", "full: 5 of 5"),
        (Pool(asking=2, paused=True, reason="db"), "paused_lane", "paused: db"),
    ],
)
def test_a_step_that_is_offered_tells_of_its_workers(pool: Pool | None, kind: str, said: str) -> None:
    found = waiting_of(StepState(status=StepStatus.SCHEDULED), pools={} if pool is None else {"default": pool})
    assert found.kind == kind
    assert said in found.text


def test_a_keyed_lane_s_step_is_offered_to_its_pool() -> None:
    state = run_state(c=StepState(status=StepStatus.SCHEDULED))
    assert explained(state, pools={"heavy": Pool(known=False)})[1]["c"].on == "heavy"


def test_times_signals_approvals_and_runs() -> None:
    waiting = {"status": StepStatus.WAITING, "started_at": 7}
    timer = waiting_of(StepState(waiting="wait", until=NOW + 3_600_000, **waiting))
    assert (timer.kind, timer.until, timer.text) == ("timer", NOW + 3_600_000, "waits for a time, in 1 h")
    signal = waiting_of(StepState(waiting="signal", detail={"signal": "paid"}, **waiting))
    assert (signal.kind, signal.on) == ("signal", "paid")
    assert "agentctl workflow signal run_1 paid" in signal.text
    detail = {"approvers": ["ann", "bob"], "required": 2}
    answers = [Answer("ann", "approve", 1)]
    approval = waiting_of(StepState(waiting="approval", detail=detail, answers=answers, until=NOW + 5000, **waiting))
    command = " (agentctl workflow approve run_1 a --as PERSON)"
    assert approval.text == "waits for an approval, 1 of 2 given; may answer: ann, bob, ends by itself in 5 s" + command
    child = waiting_of(StepState(waiting="subworkflow", child="run_2", **waiting))
    assert (child.kind, child.on) == ("subworkflow", "run_2")


def test_a_retry_tells_the_last_error_and_the_time() -> None:
    failed = StepState(status=StepStatus.RETRYING, attempt=2, error=StepError("http_500", "oops"))
    state = run_state(a=failed)
    state.timers["retry:a:2"] = TimerState("retry", NOW + 4000, "a", 2)
    found = explained(state)[1]["a"]
    assert (found.kind, found.until) == ("retry", NOW + 4000)
    assert found.text == "attempt 2 failed: http_500: oops; the next one comes in 4 s"
    state.pause_requested, failed.due = True, True
    assert explained(state)[1]["a"].text.endswith("the next one is due, but the run is paused")
    failed.error = StepError("budget_exceeded", "no money")
    state.pause_requested = failed.due = False
    assert explained(state)[1]["a"].kind == "budget"


def test_an_unknown_outcome_asks_for_a_person() -> None:
    found = waiting_of(StepState(status=StepStatus.OUTCOME_UNKNOWN, attempt=1))
    assert (found.kind, "agentctl workflow resolve run_1 a" in found.text) == ("outcome", True)


def test_composites_tell_how_far_they_are_and_the_list_is_bounded() -> None:
    state = run_state(a=StepState(status=StepStatus.RUNNING, width=1000))
    for number in range(1000):
        status = StepStatus.COMPLETED if number < 100 else StepStatus.SCHEDULED
        state.steps[f"a[{number}]"] = StepState(status=status)
    found, steps = explained(state)
    assert steps["a"].text == "100 of 1,000 items are done, 900 are under way"
    assert len(found.waiting) == STEPS_MAX
    assert found.more == 900 + 4 - STEPS_MAX
    loop = waiting_of(StepState(status=StepStatus.RUNNING, iteration=3))
    assert loop.text == "is in iteration 3"


def test_engine_02_nobody_is_asked_for_an_outcome_without_which_the_run_goes_on() -> None:
    text = TEXT.replace("function_name: f}}", "function_name: f}, policy: {on_failure: continue}}", 1)
    state = run_state(a=StepState(status=StepStatus.OUTCOME_UNKNOWN, attempt=1))
    assert "a" in {item.step for item in explain(state, parse_text(TEXT), Surroundings(now_ms=NOW)).waiting}
    assert "a" not in {item.step for item in explain(state, parse_text(text), Surroundings(now_ms=NOW)).waiting}


def test_engine_04_a_run_says_that_it_waits_for_subworkflows_to_undo() -> None:
    state = run_state(a=StepState(status=StepStatus.CANCELLED, child="run_2"))
    state.ending = Ending("cancelled", (), children=("a",))
    state.undoing = {"a/1": "run_2"}
    state.timers = {"children": TimerState("children", NOW + 3_600_000)}
    found, steps = explained(state)
    assert found.summary == (
        "the run waits until the subworkflow undoes what was done; then it undoes its own steps and ends as cancelled"
    )
    assert (steps["a"].kind, steps["a"].on, steps["a"].until) == ("subworkflow", "run_2", NOW + 3_600_000)
    assert steps["a"].text == (
        "waits until the run run_2 has undone its steps and ended, and goes on without that in 1 h "
        "(agentctl workflow why run_2)"
    )


def test_engine_05_a_continue_as_new_says_that_it_comes_after_what_runs() -> None:
    text = TEXT.replace(
        "  edges:", "    - {id: again, type: continue_as_new, config: {inputs: {customer: c}}}\n  edges:"
    )
    state = run_state(
        a=StepState(status=StepStatus.RUNNING), ask=StepState(status=StepStatus.WAITING, waiting="approval")
    )
    found = explain(state, parse_text(text), Surroundings(now_ms=NOW))
    (again,) = [item for item in found.waiting if item.step == "again"]
    assert (again.kind, again.on) == ("dependency", "a")
    assert again.text == "goes on as a new run once these have ended: a (running)"


def test_engine_15_a_loop_that_pauses_says_when_its_next_iteration_comes() -> None:
    """By the machine itself, so that both agree on the id of the timer."""
    config = {"body": BODY, "until": "false", "max_iterations": 3, "delay_ms": 60_000}
    run = RunDriver(workflow({"id": "a", "type": "loop", "config": config})).at(NOW).submit()

    def text() -> str:
        waiting = explain(run.state, run.definition, Surroundings(now_ms=NOW)).waiting
        return {item.step: item.text for item in waiting}["a"]

    assert text() == "is in iteration 1"
    run.completes("a@1", 1)
    assert text() == "is in iteration 1; the next one comes in 1 m"
    run.fires(timer_ids.delay("a", 1))
    assert text() == "is in iteration 2"


def test_a_run_that_waits_for_its_run_lane_names_who_has_the_slots_and_its_place() -> None:
    state = run_state(RunStatus.WAITING)
    state.run_lane = "run:o:acme"
    holder, first, own = (SlotRequest("o", run, "", 1) for run in ("run_8", "run_9", "run_1"))
    first.at, own.at = 3, 5
    lane = LaneState("_lanes", "lane_1", lane="run:o:acme", holders={holder.key: holder})
    lane.queue = {first.key: first, own.key: own}
    found, _ = explained(state, lanes={"run:o:acme": lane}, visible_org="o")
    assert found.summary == "the run waits for a slot of the run lane run:o:acme; its steps begin after that"
    assert found.waiting == (
        Waiting(
            "", "lane", "lane run:o:acme is full: 1 of 1, used by run_8, number 2 of 2 in the queue",
            "run:o:acme", 0, 5,
            {"limit": 1, "holders": ["run_8"], "place": 2, "queued": 2},
        ),
    )  # fmt: skip
    lane.config = LaneConfig(paused=True)
    paused = explained(state, lanes={"run:o:acme": lane})[0].waiting[0]
    assert (paused.kind, paused.text) == ("paused_lane", "lane run:o:acme is paused (agentctl lane resume run:o:acme)")
    assert explained(state)[0].waiting[0].text == "the run waits for a slot of lane run:o:acme"
    state.slot_granted = True
    assert explained(state)[1].keys() == {"a", "b", "c", "ask"}


LOCKED = workflow(function("a"), function("b", depends_on=["a"]), lock={"key": "acme", "nodes": ["a", "b"]})


def test_a_step_that_waits_for_a_lock_names_who_has_it_and_its_place() -> None:
    run = RunDriver(LOCKED).submit()
    lane = LaneState("_lanes", "lane_1", lane="lock:o:acme")
    holder, first, own = (SlotRequest("o", name, "", 1) for name in ("run_8", "run_9", "r"))
    own.at = 5
    lane.holders, lane.queue = {holder.key: holder}, {first.key: first, own.key: own}

    def told(**around: Any) -> tuple[Waiting, ...]:
        return explain(run.state, run.definition, Surroundings(NOW, **around)).waiting

    waits, follows = told(lanes={"lock:o:acme": lane}, visible_org="o")
    text = "waits for the lock lock:o:acme, which run_8 has, number 2 of 2 in the queue"
    detail = {"limit": 1, "holders": ["run_8"], "place": 2, "queued": 2}
    assert waits == Waiting("a", "lock", text, "lock:o:acme", 0, 5, detail)
    assert (follows.step, follows.kind) == ("b", "dependency")
    assert told()[0].text == "waits for the lock lock:o:acme"
    lane.config = LaneConfig(paused=True)
    assert told(lanes={"lock:o:acme": lane})[0].kind == "paused_lane"
    run.state.pause_requested = True
    assert told()[0].text == "the run is paused"
