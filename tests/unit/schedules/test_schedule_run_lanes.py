"""A schedule gives its runs a run lane."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.errors import InvalidError
from agentflow_common.events import LaneAsk
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.run_lanes import asked_lane

GOOD: dict[str, Any] = {"name": "nightly", "workflow": "report", "cron": "@daily"}
NAMES: dict[str, Any] = {"schedule": {"name": "nightly"}, "trigger": {"payload": {"customer": 42, "list": []}}}


def lane_of(run_lane: Any) -> LaneAsk | None:
    return asked_lane(schedule_spec.parse({**GOOD, "run_lane": run_lane}).run_lane, "acme", NAMES)


@pytest.mark.parametrize(
    ("run_lane", "asked"),
    [
        (None, None),
        ("reports", LaneAsk("run:acme:reports")),
        ("{{schedule.name}}", LaneAsk("run:acme:nightly")),
        ("{{trigger.payload.customer}}", LaneAsk("run:acme:42")),
        ({"key": "a", "limit": 3, "rate": "30/m", "policy": "skip"}, LaneAsk("run:acme:a", 3, 0.5, "skip")),
    ],
)
def test_the_lane_of_a_fire(run_lane: Any, asked: LaneAsk | None) -> None:
    assert lane_of(run_lane) == asked


@pytest.mark.parametrize("key", ["{{trigger.payload.list}}", "{{trigger.payload.nobody}}", "{{schedule.name * 40}}"])
def test_a_key_that_a_fire_can_not_compute_names_its_place(key: str) -> None:
    with pytest.raises(InvalidError, match=r"^run_lane\.key: "):
        lane_of(key)


def test_it_is_kept_as_it_was_written_and_left_out_by_default() -> None:
    spec = schedule_spec.parse({**GOOD, "run_lane": "reports"})
    assert spec.canonical()["run_lane"] == {"key": "reports"}
    assert schedule_spec.trusted(spec.canonical()) == spec
    assert "run_lane" not in schedule_spec.parse(GOOD).canonical()


@pytest.mark.parametrize(
    ("run_lane", "place", "message", "fix"),
    [
        (5, "run_lane", "got 5", "write a key, or a mapping, for example {key: reports, limit: 2}"),
        ({"limit": 2}, "run_lane.key", "the field 'key' is missing", "add `key:`"),
        ({"key": "a", "limits": 2}, "run_lane.limits", "unknown field 'limits'",
         "did you mean 'limit'? there is key, limit, rate, policy"),
        ({"key": "a", "rate": "often"}, "run_lane.rate", "'often' is not valid here",
         "write how many in a second, a minute or an hour: 10/s, 100/m, 500/h"),
        ({"key": "a", "rate": "0/h"}, "run_lane.rate", "'0/h' is out of range",
         "use 0.05/h at least, 100000/s at most"),
        ("{{customer}}", "run_lane.key", "customer is not known here",
         "inputs and the key of `run_lane` may speak of `schedule` and `trigger`"),
        ("{{schedule.nam}}", "run_lane.key", "`schedule` has no 'nam'",
         "there is name, id, time, date, time_ms, number"),
    ],
)  # fmt: skip
def test_a_lane_that_makes_no_sense_is_refused(run_lane: Any, place: str, message: str, fix: str) -> None:
    with pytest.raises(InvalidError) as caught:
        schedule_spec.parse({**GOOD, "run_lane": run_lane})
    assert [(item.place, item.message, item.fix) for item in caught.value.problems] == [(place, message, fix)]


def test_a_policy_that_there_is_not_names_those_that_there_are() -> None:
    with pytest.raises(InvalidError) as caught:
        schedule_spec.parse({**GOOD, "run_lane": {"key": "a", "policy": "replace"}})
    (problem,) = caught.value.problems
    assert (problem.place, "cancel_running" in problem.message) == ("run_lane.policy", True)
    assert "it is called" not in problem.fix
