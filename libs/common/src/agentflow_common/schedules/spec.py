"""What a schedule is made of: one schema for YAML files, flags of the CLI, the SDK and JSON over gRPC.

`parse` gives a checked Spec or raises InvalidError with every problem, its place and its fix. `canonical` is what the
log keeps. A time without an offset is in the schedule's own time zone.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from agentflow_common.definition.nodes import NODE_ID, Duration, duration_ms
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.expressions import language as expressions
from agentflow_common.schedules import fire_times
from agentflow_common.schedules.fire_times import Timetable

SOURCES_MAX: Final = 20
HOLIDAYS_MAX: Final = 1_000
CALENDARS_MAX: Final = 10
BUFFER_MAX: Final = 1_000
SPEC_BYTES_MAX: Final = 60_000  # it stands in events, below the bound for what is in line
DAY_MS: Final = 86_400_000
TEMPLATE_FIELDS: Final = {
    "schedule": ("name", "id", "time", "date", "time_ms", "number"),
    "trigger": ("kind", "id", "payload"),
}
TEMPLATE_NAMES: Final = frozenset(TEMPLATE_FIELDS)
_RESERVED: Final = ("af", "$js", "$sys", "$kv", "$o", "$nrg", "_inbox")

Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel", "allow"]
OVERLAPS: Final = ("skip", "buffer_one", "buffer_all", "cancel", "allow")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_DAY_NAMES: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _weekdays(value: Any) -> Any:
    """`mon`, `Monday`, and `fri-mon` as its days."""
    value = _listed(value)
    if not isinstance(value, list | tuple):
        return value
    found: list[str] = []
    for item in value:
        first, dash, last = (word.strip() for word in str(item).lower().partition("-"))
        ends = [n for word in (first, last or first) for n, day in enumerate(_DAY_NAMES) if word in {day, day[:3]}]
        if len(ends) < 2 or (dash and not last):
            found.append(str(item))
        else:
            found += [_DAY_NAMES[(ends[0] + n) % 7][:3] for n in range((ends[1] - ends[0]) % 7 + 1)]
    return list(dict.fromkeys(found))


def _texts(value: Any) -> Any:
    """YAML reads 2030-12-25 as a date and not as text."""
    value = _listed(value)
    return [str(item) for item in value] if isinstance(value, list | tuple) else value


def _moment(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _checked(check: Callable[[str], Any]) -> BeforeValidator:
    def each(value: Any) -> Any:
        if isinstance(value, list | tuple):
            for item in value:
                check(str(item))
        return value

    return BeforeValidator(each)


Listed = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Days = Annotated[tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], BeforeValidator(_weekdays)]
Windows = Annotated[tuple[str, ...], _checked(fire_times.parse_window), BeforeValidator(_listed)]
Dates = Annotated[tuple[str, ...], _checked(fire_times.parse_holiday), BeforeValidator(_texts)]
Moment = Annotated[str, BeforeValidator(_moment)]
Wait = Annotated[int, BeforeValidator(duration_ms)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True, str_max_length=16_384)


class Trigger(_Model):
    """webhook: an HTTP POST starts a run. subject: so does a message on this NATS subject (`*` and `>` are allowed).

    key_version: another number is another secret for the webhook; the one before it is void, or good until
    old_key_until. An update that says nothing of them leaves them as they are.
    """

    webhook: bool = False
    key_version: int = Field(1, ge=1, le=1_000_000)
    old_key_until: Moment = Field("", max_length=64)
    subject: str = Field("", max_length=200)


class Spec(_Model):
    """workflow: `name`, `name@version` or `name@label`, looked up at each fire. inputs: values and templates, which may
    speak of `schedule` (name, id, time, date, time_ms, number) and `trigger` (kind, id, payload).

    overlap: what happens at a fire time while an earlier run goes on. catchup_window_ms: how late a missed time may
    still be made up for. runs_max: after so many fires by time there are no more (0: no bound); what is skipped does
    not count, nor do triggers and backfills. jitter_ms: each time is moved by up to so much, by an amount that its own
    time decides. windows, weekdays, calendars and holidays bound the times, not the triggers.
    """

    name: str = Field(pattern=NODE_ID)
    description: str = Field("", max_length=500)
    workflow: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}(@[A-Za-z0-9_.-]{1,64})?$")
    inputs: dict[str, Any] = {}
    cron: Listed = Field((), max_length=SOURCES_MAX)
    time_zone: str = Field("UTC", max_length=64)
    start_at: Moment = ""
    end_at: Moment = ""
    runs_max: int = Field(0, ge=0, le=1_000_000_000)
    windows: Windows = Field((), max_length=24)
    weekdays: Days = Field((), max_length=7)
    holidays: Dates = Field((), max_length=HOLIDAYS_MAX)
    calendars: Listed = Field((), max_length=CALENDARS_MAX)
    jitter_ms: Wait = Field(0, ge=0, le=DAY_MS, validation_alias=AliasChoices("jitter_ms", "jitter"))
    overlap: Overlap = "skip"
    buffer_max: int = Field(100, ge=1, le=BUFFER_MAX)
    catchup_window_ms: Wait = Field(
        3_600_000, ge=1_000, le=366 * DAY_MS, validation_alias=AliasChoices("catchup_window_ms", "catchup_window")
    )
    trigger: Trigger = Trigger()
    paused: bool = False
    tags: dict[str, str] = {}
    priority: int = Field(0, ge=-100, le=100)
    budget_cents: int | None = Field(None, ge=1, le=100_000_000)
    deadline_ms: Duration | None = Field(None, validation_alias=AliasChoices("deadline_ms", "deadline"))

    @model_validator(mode="after")
    def _whole(self) -> Spec:
        if not (self.cron or self.trigger.webhook or self.trigger.subject):
            raise ValueError("nothing would ever start it: give `cron:` or `trigger:`")
        return self

    def canonical(self) -> dict[str, Any]:
        """Plain JSON data without defaults."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        return {"name": self.name, "workflow": self.workflow, **data}

    def timetable(self, anchor_ms: int, calendars: Mapping[str, tuple[str, ...]] | None = None) -> Timetable:
        """anchor_ms: from where `@every` counts. calendars: the dates of those that `calendars` names."""
        named = [day for name in self.calendars for day in (calendars or {}).get(name, ())]
        return fire_times.timetable(
            self.cron, self.time_zone, anchor_ms, self.windows, self.weekdays, (*self.holidays, *named),
            self.start_at, self.end_at,
        )  # fmt: skip


def parse(data: Any, lines: Mapping[tuple[str | int, ...], int] | None = None) -> Spec:
    """A checked Spec from plain data; `lines` maps a path to its line."""
    if not isinstance(data, dict):
        place = Problem("schedule", f"got {expressions.kind_of(data)}", "start with `name:` and `workflow:`")
        raise InvalidError("the schedule must be a mapping", problems=(place,), kind="invalid_schedule")
    try:
        spec = Spec.model_validate(data)
        problems = _problems(spec, lines)
    except ValidationError as error:
        problems = [_explain(item, lines) for item in error.errors(include_url=False)[:20]]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        text = f"the schedule is not valid: {problems[0]}{more}"
        raise InvalidError(text, problems=tuple(problems), kind="invalid_schedule")
    return spec


def parse_text(text: str, source: str = "schedule") -> Spec:
    """From YAML or JSON."""
    from agentflow_common.definition.yaml_text import load

    data, lines = load(text, source)
    return parse(data, lines)


def left(spec: Mapping[str, Any], timed: int) -> int:
    """How many fires by time are left; a large number if they are not bounded."""
    most = int(spec.get("runs_max", 0))
    return max(0, most - timed) if most else 1_000_000_000


def trusted(data: Mapping[str, Any]) -> Spec:
    """One that was checked before it was written to the log."""
    return Spec.model_validate(data)


def _place(path: tuple[str | int, ...], lines: Mapping[tuple[str | int, ...], int] | None) -> str:
    dotted = ".".join(map(str, path))
    if not lines:
        return dotted or "schedule"
    probe = path
    while probe and probe not in lines:
        probe = probe[:-1]
    return f"line {lines.get(probe, 1)}, {dotted}" if dotted else f"line {lines.get(probe, 1)}"


_WAITS: Final = {"jitter", "jitter_ms", "catchup_window", "catchup_window_ms", "deadline", "deadline_ms"}
_SHAPES: Final = {
    "tuple_type": "write one text, or a list of texts",
    "dict_type": "write a mapping, `name: value`",
    "model_type": "write a mapping, for example {webhook: true}",
    "bool_parsing": "write true or false",
}
_ELSEWHERE: Final = {  # what other schedulers call a policy
    "terminate": "`cancel` ends what runs",
    "replace": "it is called `cancel` here",
    "forbid": "it is called `skip` here",
    "queue": "it is called `buffer_all` here",
    "parallel": "it is called `allow` here",
}


def _span(ms: int) -> str:
    unit = next(
        (unit for unit in ((DAY_MS, "d"), (3_600_000, "h"), (1000, "s")) if ms and ms % unit[0] == 0), (1, "ms")
    )
    return f"{ms // unit[0]}{unit[1]}"


def _explain(item: Any, lines: Mapping[tuple[str | int, ...], int] | None) -> Problem:
    path = tuple(item["loc"])
    message, fix = str(item["msg"]).removeprefix("Value error, "), ""
    if item["type"] == "extra_forbidden":
        known = list((Trigger if len(path) > 1 else Spec).model_fields)
        names = [name.removesuffix("_ms") for name in known]
        close = difflib.get_close_matches(str(path[-1]), names, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]!r}? " if close else ""
        message, fix = f"unknown field {path[-1]!r}", f"{hint}there is {', '.join(names)}"
    elif item["type"] == "missing":
        message, fix = f"the field {path[-1]!r} is missing", f"add `{path[-1]}:`"
    elif item["type"] == "string_pattern_mismatch":
        message, fix = f"{item['input']!r} is not valid here", f"must match {item['ctx']['pattern']}"
    elif item["type"] == "literal_error":
        message = f"{message[:1].lower()}{message[1:]}, got {item['input']!r}"[:200]
        fix = _ELSEWHERE.get(str(item["input"]).lower(), "or a range, mon-fri" if "weekdays" in path else "")
    elif item["type"] in _SHAPES:
        message, fix = f"got {item['input']!r}"[:100], _SHAPES[item["type"]]
    elif item["type"] in {"less_than_equal", "greater_than_equal"} and str(path[-1]) in _WAITS:
        message = f"{item['input']!r} is out of range"
        fix = f"use {'at most' if 'le' in item['ctx'] else 'at least'} {_span(next(iter(item['ctx'].values())))}"
    elif item["type"] == "value_error" and ": " in message:
        message, _, fix = message.partition(": ")
    return Problem(_place(path, lines), message, fix)


def _problems(spec: Spec, lines: Mapping[tuple[str | int, ...], int] | None) -> list[Problem]:
    """What only its own readers can say of the texts in a spec."""
    found: list[Problem] = []

    def attempt(path: tuple[str | int, ...], read: Callable[[], Any]) -> None:
        try:
            read()
        except (ValueError, InvalidError) as error:
            message, _, fix = str(error).partition(": ")
            found.append(Problem(_place(path, lines), message, fix))

    attempt(("time_zone",), partial(fire_times.zone, spec.time_zone))
    if found:
        return found
    tz = fire_times.zone(spec.time_zone)
    for number, text in enumerate(spec.cron):
        place: tuple[str | int, ...] = ("cron", number) if len(spec.cron) > 1 else ("cron",)
        attempt(place, partial(_check_source, text, tz))
    for field in ("start_at", "end_at"):
        if text := getattr(spec, field):
            attempt((field,), partial(fire_times.parse_time, text, tz))
    if spec.start_at and spec.end_at and not found:
        attempt(("end_at",), partial(_check_order, spec.start_at, spec.end_at, tz))
    if spec.trigger.old_key_until:
        attempt(("trigger", "old_key_until"), partial(fire_times.parse_time, spec.trigger.old_key_until, tz))
    if spec.trigger.subject:
        attempt(("trigger", "subject"), partial(check_subject, spec.trigger.subject))
    for path, text in _strings(spec.inputs, ("inputs",)):
        attempt(path, partial(_check_template, text))
    if (size := len(msgspec.json.encode(spec.canonical()))) > SPEC_BYTES_MAX:
        fix = "move data into files or buckets, and holidays into calendars"
        found.append(Problem("schedule", f"{size:,} bytes as JSON, the limit is {SPEC_BYTES_MAX:,}", fix))
    return found


def _check_source(text: str, tz: tzinfo) -> None:
    fire_times.parse_source(text, tz)
    if not text.lstrip().startswith("@"):
        fire_times.check_steps(text)


def _check_order(start_at: str, end_at: str, tz: tzinfo) -> None:
    if fire_times.parse_time(end_at, tz) < fire_times.parse_time(start_at, tz):
        raise ValueError(f"{end_at!r} is before `start_at`: give the later time")


def check_subject(subject: str) -> str:
    """ValueError for what is not a subject outside of the platform's own and the server's."""
    tokens = subject.split(".")
    if any(not token or any(c.isspace() or not c.isprintable() for c in token) for token in tokens):
        raise ValueError(f"{subject!r} is not a NATS subject: write for example orders.created or orders.*")
    if any(("*" in t and t != "*") or (">" in t and (t != ">" or at < len(tokens) - 1)) for at, t in enumerate(tokens)):
        raise ValueError(f"{subject!r} is not a NATS subject: `*` stands for a whole token, `>` for the rest")
    if tokens[0].lower() in _RESERVED or tokens[0][:1] in {"$", "*", ">"}:
        raise ValueError(f"{subject!r} is not open to triggers: begin with a word of your own, for example orders.>")
    return subject


def _strings(value: Any, path: tuple[str | int, ...]) -> list[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        return [(path, value)] if expressions.is_template(value) else []
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in _strings(item, (*path, key))]


def _check_template(text: str) -> None:
    unknown = expressions.template(text).variables - TEMPLATE_NAMES
    if unknown:
        raise ValueError(
            f"{', '.join(sorted(unknown))} is not known here: inputs may speak of `schedule` and `trigger`"
        )
    for name, field in sorted(expressions.template(text).fields):
        if field not in TEMPLATE_FIELDS[name] and not hasattr(dict, field):
            raise ValueError(f"`{name}` has no {field!r}: there is {', '.join(TEMPLATE_FIELDS[name])}")


def render(inputs: Any, variables: Mapping[str, Any]) -> Any:
    """The inputs with their templates' values; ExpressionError names what is undefined."""
    if isinstance(inputs, str):
        return expressions.template(inputs).render(variables) if expressions.is_template(inputs) else inputs
    if isinstance(inputs, dict):
        return {key: render(item, variables) for key, item in inputs.items()}
    return [render(item, variables) for item in inputs] if isinstance(inputs, list) else inputs
