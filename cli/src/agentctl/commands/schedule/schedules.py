"""`agentctl schedule`: runs by time, by webhook and by message."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentctl import session, values
from agentctl.commands.schedule import calendars as calendar
from agentctl.display import paging
from agentctl.display.output import Format, Output, done, emit, note, some, when
from agentctl.failures import BAD_INPUT, CliError
from agentctl.hints import Group
from agentctl.session import open_client, remote

if TYPE_CHECKING:
    from agentflow_sdk import Schedule, ScheduleFire, Webhook

app = typer.Typer(no_args_is_help=True, help="Start runs by cron, at a time, by webhook or by NATS message.")
app.add_typer(calendar.app, name="calendar", cls=Group)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.", show_default=False)]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the log.", show_default=False)]
File = Annotated[
    str, typer.Option("--file", "-f", help="The schedule in YAML or JSON; - reads stdin.", show_default=False)
]
Workflow = Annotated[str, typer.Option(help="NAME, NAME@VERSION or NAME@LABEL.", show_default=False)]
Cron = Annotated[
    list[str] | None,
    typer.Option(
        help='"0 30 2 * * *" (seconds first, or five fields), @daily, @hourly, "@every 90s", "@at 2030-12-24T18:30".'
    ),
]
Zone = Annotated[str, typer.Option("--tz", help="IANA time zone (UTC).", show_default=False)]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="KEY=VALUE", help="May hold {{schedule.time}} or {{trigger.payload.x}}."),
]


@app.command()
def schema() -> None:
    """Print the JSON Schema of schedules. Editors use it for completion and checks."""
    from agentflow_common.definition.json_schema import text
    from agentflow_common.schedules.json_schema import schedule_schema

    sys.stdout.write(text(schedule_schema()))


def _spec(file: str, flags: dict[str, Any], inputs: list[str] | None, sets: list[str] | None) -> Any:
    """The text of the file, or plain data from the flags; not both."""
    given = {name: value for name, value in flags.items() if value not in ("", None, [])}
    if file:
        if given or inputs or sets:
            raise CliError("--file says it all", fix="leave out the other flags, or --file", exit_code=BAD_INPUT)
        text = values.read_text(file)
        session.state.source = "stdin" if file == "-" else file
        return text
    if not given.get("name"):
        raise CliError("which schedule?", fix="give a name, or --file", exit_code=BAD_INPUT)
    for pair in sets or ():
        key, value = values.split_pair(pair, "--set")
        where, *rest = key.split(".")
        if rest:
            given.setdefault(where, {})[".".join(rest)] = values.scalar(value)
        else:
            given[where] = values.scalar(value)
    if inputs:
        given["inputs"] = values.parse_inputs(inputs)
    return given


Overlap = Annotated[
    str, typer.Option(help="While a run goes on: skip, buffer_one, buffer_all, cancel or allow.", show_default=False)
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Any other field: --set jitter=30s --set trigger.webhook=true"),
]


@app.command()
@remote
def create(
    name: Annotated[str, typer.Argument(help="The schedule's name (not with --file).", show_default=False)] = "",
    file: File = "",
    workflow: Workflow = "",
    cron: Cron = None,
    tz: Zone = "",
    input_: Inputs = None,
    overlap: Overlap = "",
    set_: Sets = None,
    output: Output = Format.TABLE,
) -> None:
    """Create a schedule from a file or from flags."""
    flags = {"name": name, "workflow": workflow, "cron": cron, "time_zone": tz, "overlap": overlap}
    spec = _spec(file, flags, input_, set_)
    with open_client() as client:
        result = client.schedules.create(spec)
    emit(result.schedule.to_dict(), output, lambda: _fields(result.schedule))
    if not result.changed:
        note("this very schedule was there already, nothing changed")


@app.command()
@remote
def update(file: File, output: Output = Format.TABLE) -> None:
    """Put the spec in the file in the place of the schedule that it names."""
    spec = _spec(file, {}, None, None)
    with open_client() as client:
        result = client.schedules.update(spec)
    emit(result.schedule.to_dict(), output, lambda: _fields(result.schedule))
    if not result.changed:
        note("it was so already, nothing changed")


@app.command("list")
@remote
def list_(
    workflow: Annotated[str, typer.Option(help="Only those of this workflow.", show_default=False)] = "",
    status: Annotated[str, typer.Option(help="active, paused, finished or broken.", show_default=False)] = "",
    limit: paging.Limit = 100,
    everything: paging.All = False,
    page_token: paging.PageToken = "",
    output: Output = Format.TABLE,
) -> None:
    """List schedules with what comes next."""
    from agentctl.display.output import table

    with open_client() as client:
        found, token = paging.collect(
            lambda size, at: client.schedules.list(
                workflow=workflow, status=values.word(status), limit=size, page_token=at
            ),
            limit, everything, page_token,
        )  # fmt: skip
    rows = [(s.name, s.status.value, s.workflow, _starts(s.spec), _next(s)) for s in found]
    columns = ("NAME", "STATUS", "WORKFLOW", "STARTS", "NEXT")
    emit([s.to_dict() for s in found], output, lambda: table(columns, rows, empty=_NONE))
    paging.closing(len(found), token)


@app.command()
@remote
def get(name: Name, output: Output = Format.TABLE) -> None:
    """Show a schedule: its next times, its last runs and those that go on."""
    with open_client() as client:
        found = client.schedules.get(name)
    emit(found.to_dict(), output, lambda: _shown(found))


@app.command("next")
@remote
def next_(
    name: Annotated[str, typer.Argument(help="The schedule's name (not with --file).", show_default=False)] = "",
    file: File = "",
    cron: Cron = None,
    tz: Zone = "",
    count: Annotated[int, typer.Option("--count", "-n", help="How many.", min=1, max=1000)] = 5,
    after: Annotated[str, typer.Option(help="From when on (now).", show_default=False)] = "",
    output: Output = Format.TABLE,
) -> None:
    """Show the next times of a schedule, of a file, or of --cron; nothing is stored."""
    if cron and (name or file):
        raise CliError("--cron is for times without a schedule", fix="leave out the name", exit_code=BAD_INPUT)
    subject: Any = name
    if file:
        subject = _spec(file, {}, None, None)
    elif cron:
        subject = {"name": "preview", "workflow": "preview", "cron": cron, **({"time_zone": tz} if tz else {})}
    elif not name:
        raise CliError("which times?", fix="give a name, --file or --cron", exit_code=BAD_INPUT)
    if file and "\n" not in subject:
        subject += "\n"  # how the SDK tells a text from a name
    with open_client() as client:
        found = client.schedules.preview(subject, after=values.parse_time(after) if after else 0, times=count)
    emit(found.to_dict(), output, lambda: "\n".join(_local(at, found.time_zone) for at in found.times) or "no more")


@app.command()
@remote
def pause(name: Name, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """Start no further runs. Times that pass are not made up for."""
    with open_client() as client:
        changed = client.schedules.pause(name, reason)
    done({"name": name, "paused": True, "changed": changed}, output)
    note(f"schedule {name}: paused" if changed else f"schedule {name} was paused already")


@app.command()
@remote
def resume(name: Name, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """Go on after a pause."""
    with open_client() as client:
        changed = client.schedules.resume(name, reason)
    done({"name": name, "paused": False, "changed": changed}, output)
    note(f"schedule {name}: active" if changed else f"schedule {name} was not paused")


@app.command()
@remote
def trigger(
    name: Name,
    payload: Annotated[str, typer.Option(help="JSON for {{trigger.payload}}, or @file.", show_default=False)] = "",
    overlap: Overlap = "",
    trigger_id: Annotated[str, typer.Option("--id", help="The same id is the same trigger.", show_default=False)] = "",
    output: Output = Format.TABLE,
) -> None:
    """Ask for a run now, whatever the times say; tells the run, or why there is none."""
    value: Any = None
    if payload:
        try:
            value = values.decoded(values.text_or_file(payload))
        except ValueError as error:
            raise CliError(f"--payload: not JSON: {error}", fix='write {"name": "value"}, or @file.json') from None
    with open_client() as client:
        found = client.schedules.trigger(name, value, overlap=values.word(overlap), trigger_id=trigger_id)
    emit(found.to_dict(), output, lambda: found.run_id)
    if found.status == "refused" and found.error:
        raise CliError(f"its run can't start: {found.error.type}: {found.error.message}", fix=_FATES["refused"])
    note(_FATES.get(found.status, _FATES["accepted"]).format(name=name, reason=found.reason))


_NONE = "no schedules yet: agentctl schedule create -f FILE"
_FATES = {
    "started": "it has started",
    "fired": "it is being submitted",
    "waiting": "it starts when earlier runs have ended",
    "skipped": "no run comes of it: {reason} (see --overlap, and: agentctl schedule get {name})",
    "refused": "see the workflow's inputs: agentctl schedule get shows what the schedule gives it",
    "accepted": "it is kept and not decided yet; see: agentctl schedule get {name}",
}


@app.command()
@remote
def backfill(
    name: Name,
    start: Annotated[
        str, typer.Option("--start", "--since", help="2030-01-31, 2030-01-31T12:00:00Z, 7d (ago).", show_default=False)
    ],
    end: Annotated[str, typer.Option("--end", "--until", help="The same; included.")] = "now",
    overlap: Annotated[str, typer.Option(help="buffer_all: one by one; allow: all at once.")] = "buffer_all",
    backfill_id: Annotated[
        str, typer.Option("--id", help="The same id is the same backfill.", show_default=False)
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count and show the times.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Fire for every time of a stretch of the past."""
    with open_client() as client:
        found = client.schedules.backfill(
            name, values.parse_time(start), values.parse_time(end), overlap=values.word(overlap),
            backfill_id=backfill_id, dry_run=dry_run,
        )  # fmt: skip

    def render() -> str:
        head = some(found.count, "time")
        head += "" if dry_run else f", backfill {found.backfill_id}"
        return "\n".join([head, *(f"  {when(at)}" for at in found.times[:10])])

    emit(found.to_dict(), output, render)
    if found.known and not dry_run:
        note(f"the backfill {found.backfill_id} was asked for before, nothing changed")


@app.command()
@remote
def delete(name: Name, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """Delete a schedule; its runs go on to their end."""
    with open_client() as client:
        client.schedules.delete(name, reason)
    done({"name": name, "deleted": True}, output)
    note(f"schedule {name}: deleted")


@app.command()
@remote
def webhook(name: Name, output: Output = Format.TABLE) -> None:
    """Show where to POST to, and the secret to sign with. Keep it from logs."""
    with open_client() as client:
        found = client.schedules.webhook(name)
    emit(found.to_dict(), output, lambda: _webhook(found))


@app.command()
@remote
def rotate(
    name: Name,
    overlap: Annotated[str, typer.Option(help="How long the old secret stays good: 12h, 7d, or 0.")] = "24h",
    end_overlap: Annotated[
        bool, typer.Option("--end-overlap", help="No new secret: the old one is void from now on.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Make a new secret for the webhook; the old one stays good for a while."""
    with open_client() as client:
        found = client.schedules.rotate_webhook(name, overlap_ms=values.parse_span(overlap), end_overlap=end_overlap)
    emit(found.to_dict(), output, lambda: _webhook(found))


# --- for people ---


def _webhook(found: Webhook) -> Any:
    from agentctl.display import render

    until = f"good until {when(found.old_secret_until)}" if found.old_secret_until else ""
    pairs = [("url", f"http://{found.address}{found.path}"), ("secret", found.secret), ("old secret", until)]
    return render.fields(pairs)


def _starts(spec: dict[str, Any]) -> str:
    """What starts it, in short."""
    trigger_ = spec.get("trigger", {})
    parts = [*spec.get("cron", ())]
    parts += ["webhook"] if trigger_.get("webhook") else []
    parts += [f"subject {trigger_['subject']}"] if trigger_.get("subject") else []
    text = ", ".join(parts)
    zone = spec.get("time_zone", "UTC")
    return text if zone == "UTC" or not spec.get("cron") else f"{text} ({zone})"


def _next(found: Schedule) -> str:
    return _local(found.next_times[0], found.spec.get("time_zone", "UTC")) if found.next_times else ""


def _local(at: int, zone: str) -> str:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    moment = datetime.fromtimestamp(at / 1000, UTC).astimezone(UTC if zone == "UTC" else ZoneInfo(zone))
    return moment.strftime("%a %Y-%m-%d %H:%M:%S %Z")


def _fields(found: Schedule) -> Any:
    from agentctl.display import render

    zone = found.spec.get("time_zone", "UTC")
    pairs: list[tuple[str, Any]] = [
        ("schedule", found.name),
        ("status", found.status.value + (f" ({found.paused_reason})" if found.paused_reason else "")),
        ("workflow", found.workflow),
        ("starts", _starts(found.spec)),
        ("overlap", found.spec.get("overlap", "skip")),
        ("next", "\n".join(_local(at, zone) for at in found.next_times)),
        ("fired", str(found.fired) if found.fired else ""),
        ("passed over", ", ".join(f"{n} {why}" for why, n in sorted(found.skipped.items()))),
        ("waiting", str(found.buffered) if found.buffered else ""),
        ("backfills", str(found.backfills) if found.backfills else ""),
    ]
    return render.fields(pairs)


def _shown(found: Schedule) -> None:
    from agentctl.display.output import stdout, table

    console = stdout()
    console.print(_fields(found))
    shown = {fire.number: fire for fire in (*found.recent, *found.active)}
    if shown:
        rows = [_fire(shown[number]) for number in sorted(shown, reverse=True)]
        console.print(table(("#", "PLANNED", "CAUSE", "STATUS", "RUN", "ERROR"), rows))


def _fire(fire: ScheduleFire) -> tuple[str, ...]:
    error = f"{fire.error.type}: {fire.error.message}" if fire.error else ""
    return (str(fire.number), when(fire.at), fire.cause, fire.status, fire.run_id, error)
