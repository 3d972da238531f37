"""What a fork and a retry keep, and what they change."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common.definition.model import Definition
from agentflow_common.definition.parse import parse_text
from agentflow_common.errors import InvalidError, NotFoundError, TerminalError
from agentflow_common.events import Payload
from agentflow_common.runs import fork as forking
from agentflow_common.runs.fold import new_state
from agentflow_common.runs.fork import Changes
from agentflow_common.runs.state import RunState, RunStatus, StepState, StepStatus

DIAMOND = """\
name: w
inputs: {x: {type: integer, default: 1}, y: {type: integer, default: 2}}
dag:
  nodes:
    - {id: a, type: function, config: {function_name: f, inputs: {v: "{{x}}"}}}
    - {id: b, type: function, config: {function_name: f, inputs: {v: a.output}}}
    - {id: c, type: llm, config: {prompt_ref: p@1, inputs: {v: a.output, w: "{{inputs.y}}"}}}
    - {id: d, type: tool, config: {tool_name: t, tool_args: {v: b.output}, inputs: {w: c.output}}}
    - {id: lone, type: function, config: {function_name: f, parallel: true, inputs: {v: "{{[1, 2]}}"}}}
  edges: [{from: a, to: b}, {from: a, to: c}]
"""
LOOP = """\
name: w
dag:
  nodes:
    - {id: start, type: function, config: {function_name: f}}
    - {id: draft, type: function, config: {function_name: f, inputs: {v: start.output}}}
    - {id: review, type: function, config: {function_name: f, inputs: {v: draft.output}}}
    - {id: publish, type: function, config: {function_name: f, inputs: {v: review.output}}}
    - {id: side, type: function, config: {function_name: f, inputs: {v: start.output}}}
  edges:
    - {from: start, to: draft}
    - {from: draft, to: review}
    - {from: review, to: draft, condition: "review.output != 'ok'", max_iterations: 5}
    - {from: review, to: publish, condition: "review.output == 'ok'"}
"""
DONE = StepStatus.COMPLETED


def definition(text: str = DIAMOND) -> Definition:
    return parse_text(text)


def state(status: RunStatus = RunStatus.COMPLETED, /, **steps: StepStatus) -> RunState:
    made = RunState(org="o", run="run_1", status=status)
    for key, value in steps.items():
        made.steps[key] = StepState(status=value, attempt=1, output=Payload(value=key))
    return made


ALL_DONE = {"a": DONE, "b": DONE, "c": DONE, "d": DONE, "lone": DONE, "lone[0]": DONE, "lone[1]": DONE}


def fork(run: RunState, at: str, before: RunState | None = None, text: str = DIAMOND) -> forking.Seed:
    return forking.fork(run, before or run, definition(text), at)


def test_a_fork_keeps_what_the_step_does_not_lead_to() -> None:
    run = state(**ALL_DONE)
    assert set(fork(run, "c").steps) == {"a", "b", "lone", "lone[0]", "lone[1]"}
    assert set(fork(run, "a").steps) == {"lone", "lone[0]", "lone[1]"}, "inputs lead on without an edge"
    assert set(fork(run, "lone").steps) == {"a", "b", "c", "d"}, "children go with their step"
    assert set(fork(run, "d").steps) == {"a", "b", "c", "lone", "lone[0]", "lone[1]"}


def test_a_fork_of_a_run_that_goes_on_keeps_only_what_is_decided() -> None:
    run = state(RunStatus.RUNNING, a=DONE, b=StepStatus.RUNNING, c=StepStatus.SKIPPED, lone=StepStatus.FAILED)
    assert set(fork(run, "d").steps) == {"a", "c"}


def test_a_failure_is_kept_where_the_definition_goes_on_without_the_step() -> None:
    text = DIAMOND.replace("{id: b, type: function,", "{id: b, type: function, policy: {on_failure: continue},")
    run = state(a=DONE, b=StepStatus.FAILED, c=DONE)
    assert set(fork(run, "d", text=text).steps) == {"a", "b", "c"}
    assert set(fork(run, "d").steps) == {"a", "c"}


@pytest.mark.parametrize(
    ("at", "error", "word"),
    [
        ("cc", NotFoundError, "did you mean 'c'?"),
        ("nothing", NotFoundError, "its steps are a, b, c, d, lone"),
        ("lone[7]", NotFoundError, "it has begun lone[0], lone[1]"),
        ("a[0]", NotFoundError, "'a' has begun no parts"),
        ("d:undo", InvalidError, "fork at d"),
        ("a#2", NotFoundError, "it has run 1 time"),
    ],
)
def test_what_can_not_be_forked_at_is_told(at: str, error: type[Exception], word: str) -> None:
    with pytest.raises(error) as caught:
        fork(state(**ALL_DONE), at)
    problems = getattr(caught.value, "problems", ())
    assert word in str(caught.value) + " ".join(map(str, problems))


def test_a_compensated_step_and_what_followed_it_is_not_kept() -> None:
    run = state(RunStatus.FAILED, **{**ALL_DONE, "d": StepStatus.FAILED, "b:undo": DONE})
    kept = forking.retry(run, definition(), Changes()).steps
    assert set(kept) == {"a", "c", "lone", "lone[0]", "lone[1]"}
    assert set(fork(run, "d").steps) == set(kept)


def test_a_retry_keeps_every_result_and_the_parts_that_succeeded() -> None:
    run = state(RunStatus.FAILED, a=DONE, b=DONE, c=StepStatus.CANCELLED, lone=StepStatus.CANCELLED)
    run.steps["lone"].width = 2
    run.steps["lone"].finished_at = 9
    run.steps["lone[0]"] = StepState(status=DONE, output=Payload(value=0))
    run.steps["lone[1]"] = StepState(status=StepStatus.FAILED)
    kept = forking.retry(run, definition(), Changes()).steps
    assert set(kept) == {"a", "b", "lone", "lone[0]", "lone[1]"}
    again = kept["lone[1]"]
    assert (again.status, again.due, again.attempt) == (StepStatus.RETRYING, True, 0), "its next attempt is the first"
    assert set(forking.retry(run, definition(), Changes()).kept) == {"a", "b", "lone[0]"}
    assert (kept["lone"].status, kept["lone"].width, kept["lone"].finished_at) == (StepStatus.RUNNING, 2, 0)
    assert run.steps["lone"].status is StepStatus.CANCELLED, "the run itself is not touched"
    changed = forking.retry(run, definition(), Changes(inputs={"x": 2})).steps
    assert set(changed) == {"a", "b"}, "other inputs may give another list"


def test_a_retry_with_another_prompt_runs_that_step_and_what_follows_again() -> None:
    run = state(RunStatus.FAILED, **{**ALL_DONE, "d": StepStatus.FAILED})
    seed = forking.retry(run, definition(), Changes(prompts={"c": "p@2"}))
    assert set(seed.steps) == {"a", "b", "lone", "lone[0]", "lone[1]"}
    made = forking.edited(definition(), seed, Changes(prompts={"c": "p@2"}))
    assert [work.config.prompt_ref for _, work in made.works() if work.type == "llm"] == ["p@2"]


def test_only_what_has_failed_is_retried_and_no_unknown_outcome() -> None:
    with pytest.raises(TerminalError, match="only a failed or cancelled run"):
        forking.retry(state(RunStatus.RUNNING, a=DONE), definition(), Changes())
    with pytest.raises(TerminalError, match="completed: fork it"):
        forking.retry(state(**ALL_DONE), definition(), Changes())
    run = state(RunStatus.FAILED, a=DONE, d=StepStatus.OUTCOME_UNKNOWN)
    with pytest.raises(TerminalError, match="fork the run at 'd'") as caught:
        forking.retry(run, definition(), Changes())
    assert caught.value.kind == "outcome_unknown"


def test_a_fork_at_a_part_keeps_the_others() -> None:
    run = state(**ALL_DONE, **{"lone[2]": StepStatus.FAILED})
    run.steps["lone"].width = 3
    seed = fork(run, "lone[1]")
    assert {key: step.status.value for key, step in seed.steps.items() if key.startswith("lone")} == {
        "lone": "running", "lone[0]": "completed", "lone[1]": "retrying", "lone[2]": "failed",
    }  # fmt: skip
    assert {"a", "b", "c", "d"} <= set(seed.kept)
    with pytest.raises(InvalidError, match="the inputs change") as caught:
        forking.fork(run, run, definition(), "lone[1]", Changes(inputs={"x": 2}))
    assert caught.value.problems[0].fix == "fork at lone"
    run.steps["lone[0]"] = StepState(status=UNKNOWN)
    run.steps["lone"].status = StepStatus.FAILED
    with pytest.raises(TerminalError, match=r"whether step lone\[0\] took effect"):
        fork(run, "lone[1]")
    assert "lone[0]" not in fork(run, "lone[0]").kept


UNKNOWN = StepStatus.OUTCOME_UNKNOWN
PAY = """\
name: w
dag:
  nodes:
    - {{id: pay, type: tool, config: {{tool_name: t}}, policy: {{{policy}}}}}
    - id: each
      type: map
      config: {{over: [1, 2], body: {{type: tool, config: {{tool_name: t}}}}, on_item_failure: continue}}
    - {{id: tell, type: function, config: {{function_name: f}}, depends_on: [each]}}
"""


@pytest.mark.parametrize(
    ("policy", "kept", "refused"),
    [
        ("on_failure: continue", True, False),
        ("on_unknown: ask", True, False),  # of the new run, too
        ("on_unknown: retry", False, False),
        ("on_unknown: fail", False, True),
    ],
)
@pytest.mark.parametrize("how", ["retry", "fork"])
def test_what_may_have_taken_effect_is_not_repeated_unasked(policy: str, kept: bool, refused: bool, how: str) -> None:
    made = definition(PAY.format(policy=policy))
    run = state(
        RunStatus.FAILED, pay=UNKNOWN, each=DONE, tell=StepStatus.FAILED, **{"each[0]": DONE, "each[1]": UNKNOWN}
    )
    run.steps["each"].width = 2

    def begun() -> forking.Seed:
        return forking.retry(run, made, Changes()) if how == "retry" else forking.fork(run, run, made, "tell")

    if refused:
        with pytest.raises(TerminalError, match="fork the run at 'pay'"):
            begun()
        assert set(forking.fork(run, run, made, "pay").steps) == {"each", "each[0]", "each[1]"}, "that is to ask for it"
        run.steps["pay:undo"] = StepState(status=DONE)
    assert set(begun().steps) == {"each", "each[0]", "each[1]"} | ({"pay"} if kept else set())


def test_a_part_that_a_person_is_asked_for_is_asked_for_in_the_retry() -> None:
    text = PAY.format(policy="").replace("continue}", "fail}\n      policy: {on_unknown: ask}")
    silent = PAY.format(policy="").replace("continue}", "fail}")
    run = state(RunStatus.CANCELLED, each=StepStatus.CANCELLED, **{"each[0]": UNKNOWN, "each[1]": StepStatus.CANCELLED})
    run.steps["each"].width = 2
    steps = forking.retry(run, definition(text), Changes()).steps
    assert {key: step.status.value for key, step in steps.items()} == {
        "each": "running", "each[0]": "outcome_unknown", "each[1]": "retrying",
    }  # fmt: skip
    with pytest.raises(TerminalError, match="fork the run at 'each'"):
        forking.retry(run, definition(silent), Changes())


def looped() -> tuple[RunState, RunState]:
    """(the run at its end, the run just before `review#2` began)."""
    before = state(RunStatus.RUNNING, **dict.fromkeys(("start", "draft", "review", "draft#2"), DONE))
    before.visits = {"draft": 2, "review": 2}
    before.taken = {"review->draft": 1}
    end = state(**dict.fromkeys(("start", "draft", "review", "draft#2", "review#2", "draft#3", "review#3"), DONE))
    end.steps |= state(publish=DONE, side=DONE).steps
    end.visits = {"draft": 3, "review": 3}
    end.taken = {"review->draft": 2}
    return end, before


def test_a_fork_inside_a_loop_goes_back_to_that_visit() -> None:
    end, before = looped()
    seed = fork(end, "review#2", before, LOOP)
    assert set(seed.steps) == {"start", "draft", "review", "draft#2", "side"}
    assert seed.position.visits == {"draft": 2, "review": 2}
    assert seed.position.taken == {"review->draft": 1}
    after = fork(end, "publish", end, LOOP)
    assert after.position.taken == {"review->draft": 2}
    assert "review#3" in after.steps and "publish" not in after.steps


def test_a_seed_is_folded_into_the_new_run() -> None:
    end, before = looped()
    seed = fork(end, "review#2", before, LOOP)
    event = ev.RunSubmitted(
        org="o", run="run_2", ts=1, workflow="w", version=1, definition={},
        seed=Payload(value=forking.encoded_steps(seed)), position=seed.position,
    )  # fmt: skip
    made = new_state(ev.decode(ev.encode(event)), 1)  # type: ignore[arg-type]
    assert made.steps == seed.steps
    assert (made.visits, made.taken) == (before.visits, before.taken)
    assert (made.cost_nano, made.status) == (0, RunStatus.PENDING)


def test_changes_reach_prompt_model_and_arguments() -> None:
    seed = fork(state(**ALL_DONE), "a")
    changes = Changes(
        prompts={"c": "q@7"}, models={"c": "sim/large"}, step_inputs={"a": {"v": 5}, "d": {"v": 1, "w": 2, "n": 3}}
    )
    made = forking.edited(definition(), seed, changes)
    nodes: dict[str, Any] = {node["id"]: node for node in made.canonical()["dag"]["nodes"]}
    assert nodes["c"]["config"]["prompt_ref"] == "q@7"
    assert nodes["c"]["policy"]["model"] == "sim/large"
    assert nodes["a"]["config"]["inputs"] == {"v": 5}
    assert nodes["d"]["config"] == {"tool_name": "t", "tool_args": {"v": 1, "n": 3}, "inputs": {"w": 2}}
    assert definition().digest() != made.digest()
    assert forking.edited(definition(), seed, Changes()) == definition()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (Changes(prompts={"nope": "p"}), "there is no step 'nope'"),
        (Changes(prompts={"b": "p@1"}), "its result is kept"),
        (Changes(prompts={"d": "p@1"}), "for an llm step"),
        (Changes(models={"c": "large"}), "write provider/model"),
        (Changes(prompts={"c": "not a ref!"}), "prompt_ref"),
        (Changes(step_inputs={"d": {"v": "nowhere.output"}}), "no such node"),
    ],
)
def test_changes_that_can_not_be_are_told_with_their_place(changes: Changes, word: str) -> None:
    with pytest.raises(InvalidError) as caught:
        forking.edited(definition(), fork(state(**ALL_DONE), "c"), changes)
    assert word in " ".join(map(str, caught.value.problems))


def test_kept_steps_that_had_read_a_changed_input_are_named() -> None:
    seed = fork(state(**ALL_DONE), "d")
    assert forking.stale_steps(definition(), seed, ["x"]) == ("a",)
    assert forking.stale_steps(definition(), seed, ["y"]) == ("c",)
    assert forking.stale_steps(definition(), fork(state(**ALL_DONE), "a"), ["x", "y"]) == ()


def test_a_seed_is_bounded() -> None:
    run = state(**ALL_DONE)
    run.steps["a"].output = Payload(value="x" * (forking.SEED_BYTES_MAX + 1))
    with pytest.raises(InvalidError) as caught:
        forking.encoded_steps(fork(run, "d"))
    assert caught.value.kind == "seed_too_large"
    assert msgspec.convert(forking.encoded_steps(fork(run, "a")), dict[str, StepState])
