"""The longest silence of a run with steps under way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from agentflow_common import subjects
from agentflow_scheduler.engine.silence import Silence

KEY = subjects.key_of("o", "run_1")
OTHER = subjects.key_of("o", "run_2")


def run(fact: int, *, in_flight: int = 1, waits: int = 0, paused: bool = False) -> Any:
    state = SimpleNamespace(facts_seq=fact, out_seq=1, pause_requested=paused)
    return cast("Any", SimpleNamespace(state=state, in_flight=["s"] * in_flight, external_waits=["w"] * waits))


def test_silence_grows_until_a_new_event_and_the_longest_counts() -> None:
    silence = Silence()
    assert silence.longest([(KEY, run(1))], 100.0) == 0
    assert silence.longest([(KEY, run(1)), (OTHER, run(7))], 160.0) == 60
    assert silence.longest([(KEY, run(2)), (OTHER, run(7))], 200.0) == 40
    assert silence.longest([], 300.0) == 0
    assert silence.longest([(OTHER, run(7))], 400.0) == 0  # it was away in between


def test_runs_that_wait_for_the_world_are_not_silent() -> None:
    silence = Silence()
    quiet = [(KEY, run(1, in_flight=0)), (OTHER, run(1, waits=1)), (subjects.key_of("o", "run_3"), run(1, paused=True))]
    silence.longest(quiet, 0.0)
    assert silence.longest(quiet, 10_000.0) == 0
