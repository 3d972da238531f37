"""How `workflow get` lists steps: parts after what holds them, and the runs of subworkflows by their ids."""

from __future__ import annotations

import dataclasses

import pytest

from agentctl.commands.lane import _table
from agentctl.commands.tools import _about as about_tool
from agentctl.display.progress import brief
from agentctl.display.render import _about, _origin, _with_their_parts, output, timeline
from agentflow_sdk import ErrorInfo, Lane, Run, RunStatus, Step, StepStatus, Trace, TraceCall, TraceEvent, TraceStep


def step(key: str, **fields: object) -> Step:
    return Step(step=key, status=StepStatus.COMPLETED, **fields)  # type: ignore[arg-type]


def test_parts_stand_after_the_step_that_holds_them() -> None:
    keys = ["each", "l", "ok", "each[0]", "l@1", "each[1]", "each#2", "each#2[0]", "l@2", "lost[0]"]
    assert [item.step for item in _with_their_parts([step(key) for key in keys])] == [
        "each", "each[0]", "each[1]", "l", "l@1", "l@2", "ok", "each#2", "each#2[0]", "lost[0]",
    ]  # fmt: skip


def test_later_visits_stand_in_the_order_in_which_they_were_scheduled() -> None:
    at = {"plan": 1, "search": 2, "skipped": 0, "check": 2, "answer": 3, "search#2": 2, "plan#2": 4, "search#3": 5}
    made = [step(key, scheduled_at=when) for key, when in at.items()]
    assert [item.step for item in _with_their_parts(made)] == [
        "plan", "search", "skipped", "check", "search#2", "answer", "plan#2", "search#3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "at", "text"),
    [
        ("", "", ""),
        ("detached", "survey", "step survey of run_o, detached"),
        ("continue", "again", "run_o, which it continues"),
        ("schedule", "", "schedule letters"),
        ("fork", "b", "fork of run_o at b"),
        ("retry", "", "retry of run_o"),
    ],
)
def test_a_run_says_where_it_comes_from(kind: str, at: str, text: str) -> None:
    tags = {"schedule": "letters"} if kind == "schedule" else {}
    run = Run("run_x", "w", 1, RunStatus.RUNNING, origin_kind=kind, origin_step=at, tags=tags)
    assert _origin(dataclasses.replace(run, origin_run_id="run_o" if kind else "")) == text


def test_a_subworkflow_s_run_is_named_however_it_ended() -> None:
    assert _about(step("s", child_run_id="run_x"), "") == "run run_x"
    failed = step("s", child_run_id="run_x", error=ErrorInfo("E", "no", False))
    assert _about(failed, "") == "E: no (run run_x)"


def test_a_step_repeats_of_the_error_of_its_run_only_the_beginning() -> None:
    failed = step("s", error=ErrorInfo("budget_exceeded", "the budget is spent: limit $1.00: raise it", False))
    whole = "budget_exceeded: the budget is spent: limit $1.00: raise it"
    assert _about(failed, whole) == "budget_exceeded: the budget is spent"
    assert _about(failed, "another: error") == whole


def test_a_pool_in_which_steps_wait_and_no_worker_is_has_a_mark_in_the_list_of_lanes() -> None:
    lanes = [
        Lane("gpu", queued=3),
        Lane("cpu", queued=3, workers=1),
        Lane("busy", queued=3, active=2),
        Lane("idle"),
        Lane("acme", queued=3, keyed=True),
        Lane("held", queued=3, paused=True),
    ]
    shown = _table(lanes).columns
    assert list(shown[0].cells) == ["gpu", "cpu", "busy", "idle", "acme", "held"]
    assert list(shown[-1].cells) == ["no worker", "", "", "", "", "paused"]


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("file_not_found: there is no file 'x': check the name", "file_not_found: there is no file 'x'"),
        ("file_not_found: there is no file", "file_not_found: there is no file"),
        (
            "undecidable: zipped: zip: the lists differ in length: 'a' has 3",
            "undecidable: zipped: zip: the lists differ in length",
        ),
        ("invalid_arguments: tool slow: name: it is no text: x", "invalid_arguments: tool slow: name: it is no text"),
        (
            "not_found: the model failed (sim/x: no model 'x'); see: it",
            "not_found: the model failed (sim/x: no model 'x'); see",
        ),
        ("timeout", "timeout"),
        ("", ""),
    ],
)
def test_the_beginning_of_an_error_has_no_details_and_no_fix(error: str, shown: str) -> None:
    assert brief(error) == shown


def test_the_attempts_of_a_timeline_stand_in_the_order_of_the_log_whatever_the_clocks_said() -> None:
    first = TraceStep("first", 1, StepStatus.COMPLETED, scheduled_at=2_000, finished_at=2_002)
    second = TraceStep("a_later", 1, StepStatus.COMPLETED, scheduled_at=1_000, finished_at=1_001)
    rows = timeline(Trace("run_x", "w", RunStatus.COMPLETED, steps=(first, second))).columns[0].cells
    assert list(rows) == ["first", "a_later"]


def test_a_timeline_shows_each_call_of_a_step_that_had_made_several() -> None:
    failed = TraceCall(1, "openai", "gpt", False, 10, 0, 1_000_000, 1_100, 300, error="rate_limited", status=429)
    answered = TraceCall(2, "sim", "good", True, 10, 5, 2_000_000, 1_400, 500, finish_reason="stop")
    step = TraceStep("ask", 1, StepStatus.COMPLETED, 1_000, 1_050, 2_000, provider="sim", calls=(failed, answered))
    once = TraceStep("again", 1, StepStatus.COMPLETED, 2_000, 2_000, 2_100, calls=(answered,))
    trace = Trace("run_x", "w", RunStatus.COMPLETED, started_at=1_000, finished_at=2_100, steps=(step, once))
    cells = [[str(cell) for cell in column.cells] for column in timeline(trace).columns]
    assert cells[0] == ["ask", "  call 1, $0.001", "  call 2, $0.002", "again"]
    assert cells[1][1:3] == ["failed", "completed"] and cells[2][1:3] == ["+100 ms", "+400 ms"]
    assert cells[5][1:3] == ["openai/gpt (rate_limited)", "sim/good"]


@pytest.mark.parametrize(
    ("granted", "finished", "status", "time"),
    [(4_000, 5_000, "completed", "2.00 s"), (0, 5_000, "cancelled", "3.00 s"), (0, 0, "queued", "0 ms")],
)
def test_a_timeline_begins_with_the_submission_and_shows_the_wait_for_a_run_lane(
    granted: int, finished: int, status: str, time: str
) -> None:
    events = [TraceEvent("AF_EVENTS", 1, 2_000, "run.queued")]
    events += [TraceEvent("AF_EVENTS", 2, granted, "run.slot_granted")] * bool(granted)
    step = TraceStep("work", 1, StepStatus.COMPLETED, scheduled_at=4_000, finished_at=5_000, reason="x")
    trace = Trace("run_x", "w", RunStatus.RUNNING, started_at=1_000, finished_at=finished, steps=(step,), events=events)
    cells = [[str(cell) for cell in column.cells] for column in timeline(trace).columns]
    assert cells[0] == ["(the run)", "work"] and cells[1][0] == status
    assert cells[2] == ["+1.00 s", "+3.00 s"] and cells[3][0] == time
    assert cells[5] == ["waited for its run lane" if finished else "waits for its run lane", "x"]


@pytest.mark.parametrize(
    ("doc", "shown"),
    [
        ("Adds an order.", "Adds an order."),
        (
            "Writes a text to a file, all of it\nor nothing. Twice is once.\n\nReturns x.",
            "Writes a text to a file, all of it or nothing.",
        ),
        ("Takes a part (`items.0.name`)\nof a value", "Takes a part (`items.0.name`) of a value"),
        ("", ""),
    ],
)
def test_a_tool_is_described_by_its_first_sentence(doc: str, shown: str) -> None:
    assert about_tool(doc) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(["a", "b"], "x: a, b"), (["a, b"], '["a, b"]'), (["a", 1], "x: a, 1")],
)
def test_a_list_is_shown_as_json_where_commas_stand_in_its_items(value: list[object], shown: str) -> None:
    (text, *more) = output({"x": value}).renderables
    whole = str(text) + "".join(str(part.renderable) for part in more)
    assert "".join(whole.split()) == "".join((shown if not more else f"x:{shown}").split())
