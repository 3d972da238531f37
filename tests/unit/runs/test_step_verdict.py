"""What a node's policy says of a step that did not succeed: one answer, for deciding and for going on after a crash."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import StepError
from agentflow_common.runs.state import RunStatus, StepState, StepStatus
from agentflow_scheduler.runs.plan import PlanNode, Plans
from agentflow_scheduler.runs.steps.verdict import fails_run, judge
from tests.support.definitions import WORK, workflow
from tests.support.run_driver import RunDriver


def plan_node(node: dict[str, Any], **policy: Any) -> PlanNode:
    raw = parse_dict(workflow({"id": "a", **node, "policy": policy})).canonical()
    return Plans().get(raw).nodes["a"]


FUNCTION = {"type": "function", "config": WORK}
MODEL = {"type": "llm", "config": {"prompt_ref": "p@1"}}
MAP = {"type": "map", "config": {"over": [1], "body": FUNCTION}}
SIGNAL = {"type": "signal", "config": {"signal": "s", "timeout_ms": 5}}


@pytest.mark.parametrize(
    ("node", "policy", "status", "attempt", "verdict"),
    [
        (MODEL, {}, "outcome_unknown", 1, "retry"),  # a model call may be made again
        (MODEL, {"retry": {"max_attempts": 2}}, "outcome_unknown", 2, "fail"),
        (MODEL, {"on_unknown": "fail"}, "outcome_unknown", 1, "fail"),
        (FUNCTION, {}, "outcome_unknown", 1, "fail"),
        (FUNCTION, {"on_unknown": "ask"}, "outcome_unknown", 1, "ask"),
        (FUNCTION, {"on_unknown": "retry"}, "outcome_unknown", 1, "retry"),
        (FUNCTION, {"on_failure": "continue"}, "outcome_unknown", 1, "go_on"),
        (FUNCTION, {}, "failed", 1, "retry"),
        (FUNCTION, {"retry": {"max_attempts": 1}}, "failed", 1, "fail"),
        (FUNCTION, {"retry": {"non_retryable": ["E"]}}, "failed", 1, "fail"),
        (FUNCTION, {"retry": {"retryable": ["F"]}}, "failed", 1, "fail"),
        (MAP, {}, "failed", 0, "fail"),
        (SIGNAL, {"retry": {"retryable": ["E"]}}, "failed", 1, "fail"),  # the engine itself does not try again
    ],
)
def test_what_follows(node: dict[str, Any], policy: dict[str, Any], status: str, attempt: int, verdict: str) -> None:
    found = plan_node(node, **policy)
    step = StepState(status=StepStatus(status), attempt=attempt, error=StepError("E", "broken"))
    assert judge(found, "a", step) == verdict
    assert fails_run(found, "a", step) == (verdict == "fail")
    late = StepState(status=StepStatus(status), attempt=attempt, error=StepError("E", "broken"), expired=True)
    assert judge(found, "a", late) != "retry", "its total time is over"


@pytest.mark.parametrize(
    ("status", "retry", "verdict"),
    [
        (503, {"on": 503}, "retry"),
        (502, {"on": 503}, "fail"),
        (503, {"on": ["http_5xx"]}, "retry"),
        (503, {"on": "http_status"}, "retry"),
        (503, {"not_on": ["http_503"]}, "fail"),
        (502, {"not_on": [503]}, "retry"),
        (404, {"on": [404]}, "retry"),  # its own type is named
        (404, {"on": ["http_4xx"]}, "fail"),  # it is final, and a wider type is not enough
    ],
)
def test_retry_on_a_status(status: int, retry: dict[str, Any], verdict: str) -> None:
    groups = (f"http_{status // 100}xx", "http_status")
    error = StepError(f"http_{status}", "answered", retryable=status >= 500, bases=groups)
    step = StepState(status=StepStatus.FAILED, attempt=1, error=error)
    assert judge(plan_node(FUNCTION, retry=retry), "a", step) == verdict


@pytest.mark.parametrize(
    ("error", "retry", "verdict"),
    [
        (
            StepError("ConnectionResetError", "", bases=("ConnectionError", "OSError")),
            {"retryable": ["OSError"]},
            "retry",
        ),
        (StepError("JSONDecodeError", "", bases=("ValueError",)), {"non_retryable": ["ValueError"]}, "fail"),
        (StepError("JSONDecodeError", "", bases=("ValueError",)), {"retryable": ["KeyError"]}, "fail"),
        (StepError("Own", "", bases=("Exception",)), {"retryable": ["Exception"], "non_retryable": ["Own"]}, "fail"),
        (StepError("declined", "", False, bases=("TerminalError", "Exception")), {"retryable": ["Exception"]}, "fail"),
        (StepError("declined", "", False, bases=("TerminalError", "Exception")), {"retryable": ["declined"]}, "retry"),
        (StepError("timeout", ""), {"retryable": ["TimeoutError"]}, "retry"),
        (StepError("heartbeat_timeout", ""), {"non_retryable": ["TimeoutError"]}, "fail"),
    ],
)
def test_base_classes_are_meant_too(error: StepError, retry: dict[str, Any], verdict: str) -> None:
    step = StepState(status=StepStatus.FAILED, attempt=1, error=error)
    assert judge(plan_node(FUNCTION, retry=retry), "a", step) == verdict


KINDS = ["timeout", "heartbeat_timeout", "signal_timeout", "deadline", "outcome_unknown", "undecidable", "rate_limited"]


@pytest.mark.parametrize("meant", KINDS)
@pytest.mark.parametrize("kind", KINDS[:3])
def test_engine_14_a_type_of_error_means_no_other_whose_name_is_like_it(kind: str, meant: str) -> None:
    step = StepState(status=StepStatus.FAILED, attempt=1, error=StepError(kind, "too late"))
    stopped = judge(plan_node(FUNCTION, retry={"non_retryable": [meant]}), "a", step)
    assert stopped == ("fail" if kind == meant else "retry")
    again = judge(plan_node(FUNCTION, retry={"retryable": [meant]}), "a", step)
    assert again == ("retry" if kind == meant else "fail")


def test_the_parts_of_a_map_are_judged_by_the_map() -> None:
    step = StepState(status=StepStatus.FAILED, attempt=9, error=StepError("E", "broken"))
    assert judge(plan_node(MAP), "a[0]", step) == "go_on"


def test_a_timeout_of_a_signal_that_is_listed_as_retryable_fails_the_run_after_a_crash_too() -> None:
    policy = {"retry": {"max_attempts": 3, "retryable": ["signal_timeout"]}}
    run = RunDriver(workflow({"id": "a", **SIGNAL, "policy": policy})).submit().fires("expire:a")
    resolved = next(number for number, made in enumerate(run.made) if isinstance(made, ev.StepResolved))
    run.crash(keep=resolved + 1).decide()  # and the end is lost
    assert run.status is RunStatus.FAILED
    assert run.error.type == "signal_timeout"
