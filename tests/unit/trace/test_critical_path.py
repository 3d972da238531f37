"""What the critical path says of each thing that a run can wait for, on runs of the real machine."""

from __future__ import annotations

from typing import Any

from agentflow_common import events as ev
from agentflow_common.events import StepError
from agentflow_trace.views.critical_path import critical_path
from tests.support.definitions import BODY, ONCE, child, edges, function, in_order, subworkflow, workflow
from tests.support.run_driver import RunDriver
from tests.support.trace_rows import rows_of

BUSY = StepError("busy", "later")


def submitted(definition: dict[str, Any], inputs: Any = None, **fields: Any) -> RunDriver:
    return RunDriver(definition).at(1_000).submit(inputs, **fields)


def path(run: RunDriver, until: int = 0) -> list[tuple[str, str, int]]:
    """Returns (kind, step, length in ms) of each segment."""
    return [(part.kind, part.step, part.ended_at - part.started_at) for part in critical_path(rows_of(run.log), until)]


def test_the_first_branch_is_not_on_the_path_when_the_second_one_ends_later() -> None:
    run = submitted(workflow(*map(function, "abc"), edges=edges("a c", "b c")))
    run.at(1_100).completes("a").at(1_500).completes("b", started_at=1_200).at(1_600).completes("c", started_at=1_500)
    assert path(run) == [("worker", "b", 200), ("work", "b", 300), ("work", "c", 100)]


def test_a_retry_shows_each_attempt_the_time_between_them_and_its_late_start() -> None:
    retry = {"retry": {"max_attempts": 2, "initial_ms": 400, "backoff": "fixed", "jitter": 0}}
    run = submitted(workflow(function("a", policy=retry)))
    run.at(1_100).fails("a", BUSY, started_at=1_010)
    due = run.timer("retry:a:1").fire_at
    run.at(due + 7).fires("retry:a:1").at(due + 100).completes("a", started_at=due + 50)
    assert path(run) == [
        ("worker", "a", 10), ("work", "a", 90), ("backoff", "a", due - 1_100), ("scheduler", "a", 7),
        ("worker", "a", 43), ("work", "a", 50),
    ]  # fmt: skip


def test_a_wait_a_signal_an_approval_and_a_subworkflow_have_kinds_of_their_own() -> None:
    nodes = (
        {"id": "nap", "type": "wait", "config": {"duration": "2s"}},
        {"id": "word", "type": "signal", "config": {"signal": "go"}},
        {"id": "ask", "type": "approval", "config": {"approvers": ["ana"]}},
        subworkflow("sub"),
    )
    run = submitted(in_order(*nodes), definitions=child()).fires("wait:nap")
    run.at(3_500).tell(ev.SignalReceived, name="go")
    run.at(4_100).tell(ev.ApprovalGiven, step="ask", decision="approve", by="ana")
    run.at(5_000).child_ends("sub")
    assert path(run) == [
        ("timer", "nap", 2_000),
        ("signal", "word", 500),
        ("approval", "ask", 600),
        ("child", "sub", 900),
    ]
    found = critical_path(rows_of(run.log))
    assert (found[1].on, found[3].on) == ("go", run.state.steps["sub"].child)


def test_a_keyed_lane_and_a_lock_are_waited_for() -> None:
    locks = [{"key": "{{c}}", "nodes": ["b"]}]
    run = submitted(in_order(function("a", lane="{{c}}"), function("b"), lock=locks), {"c": "acme"})
    lane = run.state.steps["a"].lane
    run.at(1_300).tell(ev.SlotGranted, step="a", attempt=1, lane=lane)
    run.at(1_400).completes("a", started_at=1_300)
    run.at(1_900).tell(ev.RunSlotGranted, lane="lock:o:acme", attempt=1)
    run.at(2_000).completes("b", started_at=1_950)
    assert path(run) == [
        ("lane", "a", 300), ("work", "a", 100), ("lock", "b", 500), ("worker", "b", 50), ("work", "b", 50),
    ]  # fmt: skip
    assert [part.on for part in critical_path(rows_of(run.log))][::2] == [lane, "lock:o:acme", ""]


def test_a_run_lane_is_waited_for_before_the_first_step() -> None:
    run = submitted(workflow(function("a"), run_lane="{{c}}"), {"c": "acme"})
    lane = run.state.run_lane
    run.at(1_700).tell(ev.RunSlotGranted, lane=lane).at(1_800).completes("a", started_at=1_700)
    assert path(run) == [("lane", "a", 700), ("work", "a", 100)]


def test_a_pause_counts_only_while_the_chain_stands_still() -> None:
    run = submitted(in_order(function("a"), function("b")))
    run.at(1_100).tell(ev.RunPauseRequested).at(1_200).completes("a", started_at=1_000)
    run.at(1_900).tell(ev.RunResumeRequested).at(2_000).completes("b", started_at=1_900)
    assert path(run) == [("work", "a", 200), ("pause", "b", 700), ("work", "b", 100)]


def test_a_join_that_starts_early_leads_to_the_node_that_made_it_complete() -> None:
    nodes = (*map(function, "abc"), function("j", join=2))
    run = submitted(workflow(*nodes, edges=edges("a j", "b j", "c j")))
    run.at(1_100).completes("c", started_at=1_000).at(1_250).completes("a", started_at=1_000)
    run.at(1_300).completes("j", started_at=1_250)
    assert path(run) == [("work", "a", 250), ("work", "j", 50)]


def test_a_loop_shows_its_iterations_and_the_pauses_between_them() -> None:
    config = {"body": BODY, "until": "iteration >= 2", "max_iterations": 3, "delay_ms": 400}
    run = submitted(workflow({"id": "l", "type": "loop", "config": config}))
    run.at(1_100).completes("l@1", started_at=1_000).fires("delay:l:1")
    run.at(1_700).completes("l@2", started_at=1_600)
    assert path(run) == [("work", "l@1", 100), ("timer", "l@2", 400), ("worker", "l@2", 100), ("work", "l@2", 100)]


def test_a_loop_of_edges_leads_through_each_visit() -> None:
    back = edges("b a", condition="b.output.again", max_iterations=3)
    run = submitted(workflow(*map(function, "ab"), edges=[*edges("a b"), *back]))
    run.at(1_100).completes("a", started_at=1_000).at(1_200).completes("b", {"again": True}, started_at=1_100)
    run.at(1_300).completes("a#2", started_at=1_200).at(1_400).completes("b#2", {"again": False}, started_at=1_300)
    assert path(run) == [("work", name, 100) for name in ("a", "b", "a#2", "b#2")]


def test_a_graph_waits_for_the_slowest_step_of_each_superstep() -> None:
    nodes = [*map(function, "abcd")]
    graph = workflow(*nodes, edges=edges("a b", "a c", "b d", "c d"), graph={"entry_point": "a"})
    run = submitted(graph).at(1_100).completes("a", {}, started_at=1_000)
    run.at(1_200).completes("b", {}, started_at=1_100).at(1_500).completes("c", {}, started_at=1_100)
    run.at(1_600).completes("d", {}, started_at=1_500)
    assert path(run) == [("work", "a", 100), ("work", "c", 400), ("work", "d", 100)]


def test_a_failed_run_ends_with_the_step_that_failed_it() -> None:
    run = submitted(workflow(function("a", policy=ONCE), function("b")))
    run.at(1_400).fails("a", started_at=1_000)
    assert path(run) == [("work", "a", 400)]


def test_a_compensation_is_a_part_of_the_path() -> None:
    undo = {"type": "function", "config": {"function_name": "undo"}}
    run = submitted(in_order(function("a", compensate_with=undo), function("b", policy=ONCE)))
    run.at(1_100).completes("a", started_at=1_000).at(1_300).fails("b", started_at=1_100)
    run.at(1_800).completes("a:undo", started_at=1_400)
    assert path(run) == [("work", "a", 100), ("work", "b", 200), ("worker", "a:undo", 100), ("work", "a:undo", 400)]


def test_steps_that_a_worker_goes_on_with_by_itself_stand_behind_each_other() -> None:
    run = submitted(in_order(*map(function, "abcd")))
    run.at(1_100).completes("a", started_at=1_000, begun=ev.BegunStep("b", "function"))
    done = ev.DoneStep("b", ev.BegunStep("c", "function"), ts=1_250, started_at=1_150, duration_ms=100)
    run.at(1_400).tell(ev.StepCompleted, step="c", attempt=1, started_at=1_250, before=(done,))
    run.at(1_500).completes("d", started_at=1_400)
    assert run.status.value == "completed"
    assert path(run) == [
        ("work", "a", 100), ("worker", "b", 50), ("work", "b", 100), ("work", "c", 150), ("work", "d", 100),
    ]  # fmt: skip


def test_a_person_who_decides_an_unknown_outcome_is_waited_for() -> None:
    run = submitted(workflow(function("a", policy={"on_unknown": "ask"}))).at(1_200).is_unknown("a")
    run.at(3_200).tell(ev.OutcomeResolved, step="a", attempt=1, outcome="completed")
    assert path(run) == [("worker", "a", 200), ("approval", "a", 2_000)]


def test_a_run_that_goes_on_has_a_path_to_the_time_that_was_asked_for() -> None:
    run = submitted(in_order(function("a"), function("b"))).at(1_100).completes("a", started_at=1_000)
    run.at(1_150).tell(ev.StepStarted, step="b", attempt=1, worker="w")
    assert path(run, until=1_400) == [("work", "a", 100), ("worker", "b", 50), ("work", "b", 250)]
    assert critical_path(rows_of(run.log))[-1].ended_at == 1_150


def test_the_rows_of_a_foreign_program_give_no_error() -> None:
    run = submitted(workflow(function("a"))).at(1_100).completes("a")
    found = [row._replace(body="{" * 3_000) for row in rows_of(run.log)]
    assert sum(part.ended_at - part.started_at for part in critical_path(found)) == 100
    assert critical_path([]) == ()
