"""What a schedule may say, and what one is told whose schedule says something else."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.errors import InvalidError
from agentflow_common.schedules import spec as schedule_spec

GOOD: dict[str, Any] = {"name": "nightly", "workflow": "report@stable", "cron": "30 2 * * *"}


def problems(**more: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidError) as caught:
        schedule_spec.parse({**GOOD, **more})
    assert caught.value.kind == "invalid_schedule"
    return [(p.place, p.message) for p in caught.value.problems]


def test_a_file_with_everything_in_it() -> None:
    spec = schedule_spec.parse_text(
        """
name: nightly
workflow: report@stable
cron: ["0 30 2 * * *", "@every 90s"]
time_zone: Europe/Berlin
start_at: 2030-01-01
end_at: 2030-12-31T23:59:59+01:00
windows: 09:00-17:00
weekdays: [Monday, tue]
holidays: [2030-12-25, "01-01"]
calendars: bank
jitter: 30s
catchup_window: 2h
overlap: buffer_all
buffer_max: 5
inputs: {day: "{{ schedule.time }}", order: "{{ trigger.payload.id }}", n: 3}
trigger: {webhook: true, subject: orders.*}
tags: {team: data}
deadline: 1h
"""
    )
    assert spec.weekdays == ("mon", "tue")
    assert spec.holidays == ("2030-12-25", "01-01")
    assert (spec.jitter_ms, spec.catchup_window_ms, spec.deadline_ms) == (30_000, 7_200_000, 3_600_000)
    assert schedule_spec.trusted(spec.canonical()) == spec
    assert schedule_spec.parse(spec.canonical()) == spec
    assert "overlap" not in schedule_spec.parse(GOOD).canonical()


@pytest.mark.parametrize(
    ("more", "place", "message"),
    [
        ({"cron": "61 * * * *"}, "cron", "'61 * * * *' is not a cron expression"),
        ({"cron": ["@daily", "x"]}, "cron.1", "'x' has 1 fields"),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "'Mars/Olympus' is not a time zone"),
        ({"windows": "9-17"}, "windows", "'9-17' is not a window"),
        ({"holidays": ["2030-13-01"]}, "holidays", "'2030-13-01' is not a date"),
        ({"start_at": "soon"}, "start_at", "'soon' is not a time"),
        (
            {"overlap": "queue"},
            "overlap",
            "use 'skip', 'buffer_one', 'buffer_all', 'cancel' or 'allow', got 'queue'",
        ),
        ({"every": "1h"}, "every", "unknown field 'every'"),
        ({"end_at": "2030-01-01", "start_at": "2030-01-02"}, "end_at", "'2030-01-01' is before `start_at`"),
        ({"cron": "*/90 * * * *"}, "cron", "'*/90 * * * *' has a step of 90 in the minute, which has 60 values"),
        ({"inputs": {"a": "{{ schedule.nam }}"}}, "inputs.a", "`schedule` has no 'nam'"),
        ({"inputs": {"a": ["{{ trigger.body.x }}"]}}, "inputs.a.0", "`trigger` has no 'body'"),
        ({"cron": 5}, "cron", "got 5"),
        ({"trigger": "webhook"}, "trigger", "got 'webhook'"),
        ({"cron": ()}, "schedule", "nothing would ever start it"),
        ({"jitter": "soon"}, "jitter", "'soon' is not a duration"),
        ({"trigger": {"subject": "af.evt.>"}}, "trigger.subject", "'af.evt.>' is not open to triggers"),
        ({"trigger": {"subject": "$JS.API.>"}}, "trigger.subject", "'$JS.API.>' is not open to triggers"),
        ({"trigger": {"subject": ">"}}, "trigger.subject", "'>' is not open to triggers"),
        ({"trigger": {"subject": "orders..x"}}, "trigger.subject", "'orders..x' is not a NATS subject"),
        ({"trigger": {"subject": "orders.a*"}}, "trigger.subject", "'orders.a*' is not a NATS subject"),
        ({"inputs": {"a": ["{{ steps.x }}"]}}, "inputs.a.0", "steps is not known here"),
        ({"inputs": {"a": "{{ schedule."}}, "inputs.a", "template line 1"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(more: dict[str, Any], place: str, message: str) -> None:
    assert problems(**more)[0] == (place, message)


def test_a_problem_in_a_file_names_its_line() -> None:
    with pytest.raises(InvalidError) as caught:
        schedule_spec.parse_text("name: x\nworkflow: report\ncron: 99 * * * *\n")
    assert caught.value.problems[0].place == "line 3, cron"


def test_inputs_are_rendered_from_the_fire_and_its_trigger() -> None:
    inputs = {
        "at": "{{schedule.time}}",
        "n": "{{ schedule.number }}",
        "x": ["{{ trigger.payload.a }}", 1],
        "plain": "p",
    }
    variables = {"schedule": {"time": "2030-01-01T00:00:00+00:00", "number": 7}, "trigger": {"payload": {"a": [1]}}}
    found = schedule_spec.render(inputs, variables)
    assert found == {"at": "2030-01-01T00:00:00+00:00", "n": 7, "x": [[1], 1], "plain": "p"}
    with pytest.raises(InvalidError, match="no field 'b'"):
        schedule_spec.render({"x": "{{ trigger.payload.b }}"}, variables | {"trigger": {"payload": {}}})


def test_a_spec_that_would_not_fit_an_event_is_refused() -> None:
    with pytest.raises(InvalidError, match="the limit is 60,000"):
        schedule_spec.parse({**GOOD, "inputs": {str(n): "x" * 1000 for n in range(100)}})


@pytest.mark.parametrize(
    ("more", "fix"),
    [
        ({"timezone": "UTC"}, "did you mean 'time_zone'?"),
        ({"catchup": "1h"}, "did you mean 'catchup_window'?"),
        ({"trigger": {"hook": True}}, "there is webhook, key_version, old_key_until, subject"),
        ({"time_zone": "europe/berlin"}, "did you mean Europe/Berlin?"),
        ({"jitter": "2d"}, "use at most 1d"),
        ({"catchup_window": "10ms"}, "use at least 1s"),
        ({"overlap": "Forbid"}, "it is called `skip` here"),
        ({"cron": None}, "a list of texts"),
        ({"inputs": [1]}, "write a mapping"),
        ({"paused": "perhaps"}, "true or false"),
    ],
)
def test_what_to_write_instead_is_told(more: dict[str, Any], fix: str) -> None:
    with pytest.raises(InvalidError) as caught:
        schedule_spec.parse({**GOOD, **more})
    assert fix in caught.value.problems[0].fix


def test_methods_of_a_mapping_are_no_misspelt_fields() -> None:
    inputs = {"a": "{{ schedule.items() | list }}", "b": "{{ trigger.payload.anything.at.all }}", "c": "{{ trigger }}"}
    assert schedule_spec.parse({**GOOD, "inputs": inputs}).inputs == inputs


@pytest.mark.parametrize(
    ("given", "days"),
    [
        ("mon-fri", ("mon", "tue", "wed", "thu", "fri")),
        (["Friday - Monday"], ("fri", "sat", "sun", "mon")),
        (["tue", "Tuesday", "mon-wed"], ("tue", "mon", "wed")),
        ("sun-sun", ("sun",)),
    ],
)
def test_weekdays_by_name_and_by_range(given: Any, days: tuple[str, ...]) -> None:
    assert schedule_spec.parse({**GOOD, "weekdays": given}).weekdays == days


@pytest.mark.parametrize("wrong", ["monsoon", "mon-", "-fri", "mon-fri-sun", "1-5", "", "mon,tue"])
def test_what_only_begins_like_a_weekday_is_none(wrong: str) -> None:
    assert problems(weekdays=[wrong])[0][0] == "weekdays.0"
