"""The parts of a schedule: one schema for YAML files, flags of the CLI, the SDK and JSON over gRPC.

`parse` returns a checked Spec, or raises InvalidError with every problem, its place and its fix. The log keeps the
`canonical` form. A time without an offset is in the schedule's own time zone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import tzinfo
from functools import partial
from typing import Any, Final, Literal

import msgspec
from pydantic import AliasChoices, Field, ValidationError, model_validator

from agentflow_common.definition.durations import Duration
from agentflow_common.definition.nodes.base import NODE_ID, WORKFLOW_REF, Int, IntOrNone
from agentflow_common.definition.nodes.run_lane import RunLane, RunLaneField
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.expressions import language as expressions
from agentflow_common.json_values import kind_of
from agentflow_common.places import Lines, Place, line_of, texts
from agentflow_common.schedules import fire_times, sources
from agentflow_common.schedules.field_types import (
    CALENDARS_MAX,
    DAY_MS,
    HOLIDAYS_MAX,
    SOURCES_MAX,
    WINDOWS_MAX,
    Calendars,
    CatchUp,
    Dates,
    Days,
    Jitter,
    Moment,
    Sources,
    Windows,
)
from agentflow_common.schedules.fire_times import Timetable
from agentflow_common.schedules.problems import explained, place_of
from agentflow_common.schedules.run_lanes import lane_findings

BUFFER_MAX: Final = 1_000
SPEC_BYTES_MAX: Final = 60_000  # a spec is part of events, so it stays below the limit of inline values
TEMPLATE_FIELDS: Final = {
    "schedule": ("name", "id", "time", "date", "time_ms", "number"),
    "trigger": ("kind", "id", "payload"),
}
TEMPLATE_NAMES: Final = frozenset(TEMPLATE_FIELDS)
_RESERVED: Final = ("af", "$js", "$sys", "$kv", "$o", "$nrg", "_inbox")

Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel", "allow"]
OVERLAPS: Final = ("skip", "buffer_one", "buffer_all", "cancel", "allow")


class Trigger(sources.Model):
    """The other ways to start runs, besides the schedule's times: a webhook, a message, new files or rows."""

    webhook: bool = False
    """An HTTP POST starts a run."""

    key_version: Int = Field(1, ge=1, le=1_000_000)
    """The number of the webhook's secret: another number is another secret. An update without it keeps the secret."""

    old_key_until: Moment = Field("", max_length=64)
    """Until when the secret before this one is still accepted. An update without it keeps the time."""

    subject: str = Field("", max_length=200, examples=["orders.created"])
    """A message on this NATS subject starts a run; `*` and `>` are allowed."""

    files: sources.Files | None = None
    """Each new or changed file of a folder or a bucket starts a run."""

    rows: sources.Rows | None = None
    """Each new row of a table of PostgreSQL starts a run."""

    @property
    def is_source(self) -> bool:
        """True if it watches a place whose items must not get lost."""
        return self.files is not None or self.rows is not None


class Spec(sources.Model):
    """A schedule: which workflow it starts, when, and with what."""

    name: str = Field(pattern=NODE_ID, examples=["nightly_digest"])
    """The schedule's name."""

    description: str = Field("", max_length=500)
    """What the schedule is for, for people."""

    workflow: str = Field(pattern=WORKFLOW_REF, examples=["nightly_digest@prod"])
    """The workflow: `name`, `name@version` or `name@label`, looked up at each fire."""

    inputs: dict[str, Any] = Field({}, examples=[{"day": "{{schedule.date}}"}])
    """The inputs of each run: values, and templates that may use `schedule` and `trigger`."""

    cron: Sources = Field((), max_length=SOURCES_MAX, examples=["30 2 * * mon-fri", "@every 90s"])
    """When it fires: a cron expression, `@daily`, `@every 90s` or `@at TIME`; or a list of them."""

    time_zone: str = Field("UTC", max_length=64, examples=["Europe/Berlin"])
    """The time zone of all times in the schedule."""

    start_at: Moment = Field("", examples=["2030-01-01"])
    """No fire before this time."""

    end_at: Moment = Field("", examples=["2030-12-31T23:59:59"])
    """No fire after this time."""

    runs_max: Int = Field(0, ge=0, le=1_000_000_000)
    """The schedule ends after this many fires by time; 0: never. Skipped fires, triggers and backfills do not count."""

    windows: Windows = Field((), max_length=WINDOWS_MAX, examples=["22:00-06:00"])
    """The hours in which it may fire; the end is excluded."""

    weekdays: Days = Field((), max_length=7, examples=["mon-fri", ["mon", "wed"]])
    """The days on which it may fire."""

    holidays: Dates = Field((), max_length=HOLIDAYS_MAX, examples=[["2030-12-24", "12-25"]])
    """Days without fires: a date, or a day of every year."""

    calendars: Calendars = Field((), max_length=CALENDARS_MAX, examples=[["bank"]])
    """Names of calendars whose days have no fires."""

    jitter_ms: Jitter = Field(0, ge=0, le=DAY_MS, validation_alias=AliasChoices("jitter_ms", "jitter"), examples=["5m"])
    """Each time is moved by up to this much. The same time is always moved by the same amount."""

    overlap: Overlap = "skip"
    """What happens at a fire while an earlier run goes on."""

    buffer_max: Int = Field(100, ge=1, le=BUFFER_MAX)
    """With `overlap: buffer_all`: how many fires may wait."""

    run_lane: RunLaneField = Field(
        None, examples=["reports", {"key": "{{trigger.payload.customer}}", "limit": 2, "policy": "queue"}]
    )
    """A keyed lane that each run takes a slot of before its first step, beside the one of its workflow. The
    key may use `schedule` and `trigger`.
    """

    catchup_window_ms: CatchUp = Field(
        3_600_000,
        ge=1_000,
        le=366 * DAY_MS,
        validation_alias=AliasChoices("catchup_window_ms", "catchup_window"),
        examples=["6h"],
    )
    """How late a missed fire may still happen."""

    trigger: Trigger = Trigger()
    """What else starts a run: a webhook, a message, a file, a row."""

    paused: bool = False
    """True: created paused, so it does not fire by time."""

    tags: dict[str, str] = Field({}, examples=[{"team": "data"}])
    """Tags of each run, to find it by."""

    priority: Int = Field(0, ge=-100, le=100)
    """The priority of each run; a higher number goes first."""

    budget_cents: IntOrNone = Field(None, ge=1, le=100_000_000)
    """The limit for the model calls of each run, in cents."""

    deadline_ms: Duration | None = Field(
        None, validation_alias=AliasChoices("deadline_ms", "deadline"), examples=["1h"]
    )
    """The limit for each run as a whole."""

    @model_validator(mode="after")
    def _whole(self) -> Spec:
        trigger = self.trigger
        if not (self.cron or trigger.webhook or trigger.subject or trigger.is_source):
            raise ValueError("nothing would ever start it: give `cron:` or `trigger:`")
        return self

    def canonical(self) -> dict[str, Any]:
        """Returns plain JSON data without defaults."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        return {"name": self.name, "workflow": self.workflow, **data}

    def timetable(self, anchor_ms: int, calendars: Mapping[str, tuple[str, ...]] | None = None) -> Timetable:
        """Returns all times of the schedule.

        anchor_ms: the time from which `@every` counts.
        calendars: the dates of each calendar by name.
        """
        named = [day for name in self.calendars for day in (calendars or {}).get(name, ())]
        return fire_times.timetable(
            self.cron, self.time_zone, anchor_ms, self.windows, self.weekdays, (*self.holidays, *named),
            self.start_at, self.end_at,
        )  # fmt: skip


_FIELDS: Final = {
    "": list(Spec.model_fields),
    "trigger": list(Trigger.model_fields),
    "trigger.files": list(sources.Files.model_fields),
    "run_lane": list(RunLane.model_fields),
    "trigger.rows": list(sources.Rows.model_fields),
}


def parse(data: Any, lines: Lines | None = None) -> Spec:
    """Returns a checked Spec from plain data. Raises InvalidError with every problem.

    lines: the line of each path in the data.
    """
    if not isinstance(data, dict):
        wrong = f"the schedule must be a mapping, got {kind_of(data)}"
        raise InvalidError.at("schedule", wrong, "start with `name:` and `workflow:`", kind="invalid_schedule")
    try:
        spec = Spec.model_validate(data)
        problems = _problems(spec, lines)
    except ValidationError as error:
        problems = [explained(item, lines, _FIELDS) for item in error.errors(include_url=False)[:20]]
    if problems:
        problems.sort(key=line_of)
        raise InvalidError.of(problems, "the schedule is not valid", kind="invalid_schedule")
    return spec


def parse_text(text: str, source: str = "schedule") -> Spec:
    """Returns a checked Spec from YAML or JSON text. Raises InvalidError with every problem."""
    from agentflow_common.definition.yaml_text import load

    data, lines = load(text, source)
    return parse(data, lines)


def left(spec: Mapping[str, Any], timed: int) -> int:
    """Returns the number of fires by time that are left; a large number if it is unlimited."""
    most = int(spec.get("runs_max", 0))
    return max(0, most - timed) if most else 1_000_000_000


def trusted(data: Mapping[str, Any]) -> Spec:
    """Returns a Spec that was checked before it was written to the log."""
    return Spec.model_validate(data)


def _problems(spec: Spec, lines: Lines | None) -> list[Problem]:
    """Returns the problems of the texts in a spec that only their own parsers find."""
    found: list[Problem] = []

    def attempt(path: Place, read: Callable[[], Any]) -> None:
        try:
            read()
        except (ValueError, InvalidError) as error:
            message, _, fix = str(error).partition(": ")
            found.append(Problem(place_of(path, lines), message, fix))

    attempt(("time_zone",), partial(fire_times.zone, spec.time_zone))
    if found:
        return found
    tz = fire_times.zone(spec.time_zone)
    for number, text in enumerate(spec.cron):
        place: Place = ("cron", number) if len(spec.cron) > 1 else ("cron",)
        attempt(place, partial(_check_source, text, tz))
    for field in ("start_at", "end_at"):
        if text := getattr(spec, field):
            attempt((field,), partial(fire_times.parse_time, text, tz))
    if spec.start_at and spec.end_at and not found:
        attempt(("end_at",), partial(_check_order, spec.start_at, spec.end_at, tz))
    for place, check in _trigger_checks(spec, tz):
        attempt(place, check)
    found += [Problem(place_of(path, lines), message, fix) for path, message, fix in lane_findings(spec.run_lane)]
    for path, text in _templates(spec):
        attempt(path, partial(_check_template, text))
    if (size := len(msgspec.json.encode(spec.canonical()))) > SPEC_BYTES_MAX:
        fix = "move data into files or buckets, and holidays into calendars"
        found.append(Problem("schedule", f"{size:,} bytes as JSON, the limit is {SPEC_BYTES_MAX:,}", fix))
    return found


def _templates(spec: Spec) -> Iterator[tuple[Place, str]]:
    key = None if spec.run_lane is None else spec.run_lane.key
    for path, text in texts({"inputs": spec.inputs, "run_lane": {"key": key}}, ()):
        if expressions.is_template(text):
            yield path, text


def _trigger_checks(spec: Spec, tz: tzinfo) -> Iterator[tuple[Place, Callable[[], Any]]]:
    """Yields the place and the check of each part of a trigger that is given."""
    trigger = spec.trigger
    if trigger.old_key_until:
        yield ("trigger", "old_key_until"), partial(fire_times.parse_time, trigger.old_key_until, tz)
    if trigger.subject:
        yield ("trigger", "subject"), partial(check_subject, trigger.subject)
    if trigger.is_source:
        yield ("overlap",), partial(sources.check_overlap, spec.overlap)
    if trigger.files is not None:
        yield ("trigger", "files", "pattern"), partial(sources.check_pattern, trigger.files.pattern)
    if trigger.rows is not None:
        yield ("trigger", "rows", "table"), partial(sources.table_names, trigger.rows.table)
        yield ("trigger", "rows"), partial(sources.check_one_place, trigger.files)


def _check_source(text: str, tz: tzinfo) -> None:
    fire_times.parse_source(text, tz)
    if not text.lstrip().startswith("@"):
        fire_times.check_steps(text)


def _check_order(start_at: str, end_at: str, tz: tzinfo) -> None:
    if fire_times.parse_time(end_at, tz) < fire_times.parse_time(start_at, tz):
        raise ValueError(f"{end_at!r} is before `start_at`: give the later time")


def check_subject(subject: str) -> str:
    """Returns the subject. Raises ValueError if it is not valid, or belongs to the platform or the server."""
    tokens = subject.split(".")
    if any(not token or any(c.isspace() or not c.isprintable() for c in token) for token in tokens):
        raise ValueError(f"{subject!r} is not a NATS subject: write for example orders.created or orders.*")
    if any(("*" in t and t != "*") or (">" in t and (t != ">" or at < len(tokens) - 1)) for at, t in enumerate(tokens)):
        raise ValueError(f"{subject!r} is not a NATS subject: `*` stands for a whole token, `>` for the rest")
    if tokens[0].lower() in _RESERVED or tokens[0][:1] in {"$", "*", ">"}:
        raise ValueError(f"{subject!r} is not open to triggers: begin with a name of your own, for example orders.>")
    return subject


def _check_template(text: str) -> None:
    unknown = expressions.template(text).variables - TEMPLATE_NAMES
    if unknown:
        raise ValueError(
            f"{', '.join(sorted(unknown))} is not known here: "
            "inputs and the key of `run_lane` may speak of `schedule` and `trigger`"
        )
    for name, field in sorted(expressions.template(text).fields):
        if field not in TEMPLATE_FIELDS[name] and not hasattr(dict, field):
            raise ValueError(f"`{name}` has no {field!r}: there is {', '.join(TEMPLATE_FIELDS[name])}")


def render(inputs: Any, variables: Mapping[str, Any]) -> Any:
    """Returns the inputs with templates replaced by their values. Raises ExpressionError if one fails."""
    if isinstance(inputs, str):
        return expressions.template(inputs).render(variables) if expressions.is_template(inputs) else inputs
    if isinstance(inputs, dict):
        return {key: render(item, variables) for key, item in inputs.items()}
    return [render(item, variables) for item in inputs] if isinstance(inputs, list) else inputs
