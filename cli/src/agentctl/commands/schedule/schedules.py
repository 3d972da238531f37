"""`agentctl schedule`: runs by time, by webhook, by message, by new files and rows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentctl import session, values
from agentctl.commands.schedule import calendars as calendar
from agentctl.display import render
from agentctl.display.output import Format, Output, done, emit, note, some, stdout, table, when
from agentctl.failures import CliError
from agentctl.groups import RemoteGroup
from agentctl.listing import Listing, listed
from agentctl.options import DryRun, Reason, argument, flag, moment, option

if TYPE_CHECKING:
    from agentflow_sdk import Client, Schedule, ScheduleFire, ScheduleWatch, Webhook

app = RemoteGroup("schedule", "Start runs by cron, at a time, by webhook, by NATS message, by new files or rows.")
app.add_typer(calendar.app)

Name = Annotated[str, argument("The schedule's name.", "NAME")]
NameOrFile = Annotated[str, argument("The schedule's name (not with --file).")]
File = Annotated[str, option("The schedule in YAML or JSON; - reads stdin.", "--file", "-f")]
Workflow = Annotated[str, option("NAME, NAME@VERSION or NAME@LABEL.")]
Cron = Annotated[
    list[str] | None,
    typer.Option(
        help='"0 30 2 * * *" (seconds first, or five fields), @daily, @hourly, "@every 90s", "@at 2030-12-24T18:30".'
    ),
]
Zone = Annotated[str, option("IANA time zone (UTC).", "--tz")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="KEY=VALUE", help="May use {{schedule.time}} or {{trigger.payload.x}}."),
]
Overlap = Annotated[str, option("While a run goes on: skip, buffer_one, buffer_all, cancel or allow.")]
RunLane = Annotated[str, option("The key of a run lane; more with --set run_lane.limit=2.", "--run-lane")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Any other field: --set jitter=30s --set trigger.webhook=true"),
]
_FATES: Final = {
    "started": "it has started",
    "fired": "it is being submitted",
    "waiting": "it starts when earlier runs have ended",
    "skipped": "it starts no run: {reason} (see --overlap, and: agentctl schedule get {name})",
    "accepted": "it is recorded and not decided yet; see: agentctl schedule get {name}",
}


@app.local_command()
def schema() -> None:
    """Print the JSON Schema of schedules. Editors use it for completion and checks."""
    from agentflow_common.definition.json_schema import text
    from agentflow_common.schedules.json_schema import schedule_schema

    sys.stdout.write(text(schedule_schema()))


def _spec(file: str, flags: dict[str, Any], inputs: list[str] | None, sets: list[str] | None) -> Any:
    """Returns the text of the file, or plain data from the flags. Raises CliError if both are given."""
    given = {name: value for name, value in flags.items() if value not in ("", None, [])}
    if file:
        if given or inputs or sets:
            raise CliError("--file describes the whole schedule", fix="leave out the other flags, or --file")
        text = values.read_text(file)
        session.state.source = "stdin" if file == "-" else file
        return text
    if not given.get("name"):
        raise CliError("which schedule?", fix="give a name, or --file")
    for pair in sets or ():
        key, value = values.split_pair(pair, "--set")
        where, *rest = key.split(".")
        if rest:
            given.setdefault(where, {})[".".join(rest)] = values.scalar(value)
        else:
            given[where] = values.scalar(value)
    if not given.get("workflow"):
        raise CliError("which workflow?", fix="give --workflow NAME, or --file")
    if inputs:
        given["inputs"] = values.parse_inputs(inputs)
    return given


@app.command()
def create(
    client: Client,
    name: NameOrFile = "",
    file: File = "",
    workflow: Workflow = "",
    cron: Cron = None,
    tz: Zone = "",
    input_: Inputs = None,
    overlap: Overlap = "",
    run_lane: RunLane = "",
    set_: Sets = None,
    output: Output = Format.TABLE,
) -> None:
    """Create a schedule from a file or from flags."""
    flags: dict[str, Any] = {
        "name": name, "workflow": workflow, "cron": cron, "time_zone": tz, "overlap": overlap,
        "run_lane": {"key": run_lane} if run_lane else None,
    }  # fmt: skip
    result = client.schedules.create(_spec(file, flags, input_, set_))
    emit(result.schedule.to_dict(), output, lambda: _fields(result.schedule))
    if not result.changed:
        note("this schedule exists already; nothing changed")


@app.command()
def update(client: Client, file: File, output: Output = Format.TABLE) -> None:
    """Replace the spec of the schedule that the file names."""
    result = client.schedules.update(_spec(file, {}, None, None))
    emit(result.schedule.to_dict(), output, lambda: _fields(result.schedule))
    if not result.changed:
        note("the schedule has this spec already; nothing changed")


@app.command("list")
@listed(100)
def list_(
    client: Client,
    workflow: Annotated[str, option("Only those of this workflow.")] = "",
    status: Annotated[str, option("active, paused, finished or broken.")] = "",
) -> Listing[Schedule]:
    """List schedules with what comes next."""
    return lambda size, at: client.schedules.list(
        workflow=workflow, status=values.lower(status), limit=size, page_token=at
    ), _table


@app.command()
def get(client: Client, name: Name, output: Output = Format.TABLE) -> None:
    """Show a schedule: its next times, its last runs and its active runs."""
    found = client.schedules.get(name)
    emit(found.to_dict(), output, lambda: _shown(found))


@app.command("next")
def next_(
    client: Client,
    name: NameOrFile = "",
    file: File = "",
    cron: Cron = None,
    tz: Zone = "",
    count: Annotated[int, typer.Option("--count", "-n", help="How many.", min=1, max=1000)] = 5,
    after: Annotated[str, moment("From this time on (now).")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Show the next times of a schedule, of a file, or of --cron; nothing is stored."""
    if cron and (name or file):
        raise CliError("--cron is for times without a schedule", fix="leave out the name")
    subject: Any = name
    if file:
        subject = values.as_text(_spec(file, {}, None, None))
    elif cron:
        subject = {"name": "preview", "workflow": "preview", "cron": cron, **({"time_zone": tz} if tz else {})}
    elif not name:
        raise CliError("which times?", fix="give a name, --file or --cron")
    found = client.schedules.preview(subject, after=values.parse_time(after), times=count)
    emit(found.to_dict(), output, lambda: "\n".join(_local(at, found.time_zone) for at in found.times) or "no more")


@app.command()
def pause(client: Client, name: Name, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """Start no further runs. Times that pass meanwhile start nothing later."""
    changed = client.schedules.pause(name, reason)
    done({"name": name, "paused": True, "changed": changed}, output)
    note(f"schedule {name}: paused" if changed else f"schedule {name} was paused already")


@app.command()
def resume(client: Client, name: Name, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """Continue after a pause."""
    changed = client.schedules.resume(name, reason)
    done({"name": name, "paused": False, "changed": changed}, output)
    note(f"schedule {name}: active" if changed else f"schedule {name} was not paused")


@app.command()
def trigger(
    client: Client,
    name: Name,
    payload: Annotated[str, option("JSON for {{trigger.payload}}, or @file.")] = "",
    overlap: Overlap = "",
    trigger_id: Annotated[str, option("The same id is the same trigger.", "--id")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Start a run now, independent of the schedule's times. Prints the run's id, or the reason if no run starts."""
    value = values.json_option(payload, "--payload")
    found = client.schedules.trigger(name, value, overlap=values.lower(overlap), trigger_id=trigger_id)
    emit(found.to_dict(), output, lambda: found.run_id)
    if found.status == "refused" and found.error:
        fix = "see the workflow's inputs: agentctl schedule get shows what the schedule gives it"
        raise CliError(f"its run can't start: {found.error.type}: {found.error.message}", fix=fix)
    note(_FATES.get(found.status, _FATES["accepted"]).format(name=name, reason=found.reason))


@app.command()
def backfill(
    client: Client,
    name: Name,
    start: Annotated[str, moment("2030-01-31, 2030-01-31T12:00:00Z, 7d (ago).", "--start", "--since")],
    end: Annotated[str, moment("The same; included.", "--end", "--until", show_default=True)] = "now",
    overlap: Annotated[str, typer.Option(help="buffer_all: one by one; allow: all at once.")] = "buffer_all",
    backfill_id: Annotated[str, option("The same id is the same backfill.", "--id")] = "",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Start a run for every time of a range in the past."""
    found = client.schedules.backfill(
        name,
        values.parse_time(start),
        values.parse_time(end),
        overlap=values.lower(overlap),
        backfill_id=backfill_id,
        dry_run=dry_run,
    )

    def text() -> str:
        head = some(found.count, "time") + ("" if dry_run else f", backfill {found.backfill_id}")
        return "\n".join([head, *(f"  {when(at)}" for at in found.times[:10])])

    emit(found.to_dict(), output, text)
    if found.known and not dry_run:
        note(f"the backfill {found.backfill_id} was asked for before; nothing changed")


@app.command()
def delete(client: Client, name: Name, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """Delete a schedule; its runs go on to their end."""
    client.schedules.delete(name, reason)
    done({"name": name, "deleted": True}, output)
    note(f"schedule {name}: deleted")


@app.command()
def webhook(client: Client, name: Name, output: Output = Format.TABLE) -> None:
    """Show the address to POST to, and the secret to sign with. Keep the secret out of logs."""
    _webhook(client.schedules.webhook(name), output)


@app.command()
def rotate(
    client: Client,
    name: Name,
    overlap: Annotated[str, typer.Option(help="How long the old secret stays valid: 12h, 7d, or 0.")] = "24h",
    end_overlap: Annotated[bool, flag("No new secret: the old one is invalid from now on.", "--end-overlap")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Make a new secret for the webhook; the old one stays valid for a while."""
    overlap_ms = values.parse_span(overlap)
    _webhook(client.schedules.rotate_webhook(name, overlap_ms=overlap_ms, end_overlap=end_overlap), output)


def _webhook(found: Webhook, output: Format) -> None:
    until = f"valid until {when(found.old_secret_until)}" if found.old_secret_until else ""
    pairs = [("url", f"http://{found.address}{found.path}"), ("secret", found.secret), ("old secret", until)]
    emit(found.to_dict(), output, lambda: render.fields(pairs))


def _table(found: list[Schedule]) -> Any:
    rows = [(s.name, s.status.value, s.workflow, _starts(s.spec), _next(s)) for s in found]
    columns = ("NAME", "STATUS", "WORKFLOW", "STARTS", "NEXT")
    return table(columns, rows, empty="no schedules yet: agentctl schedule create -f FILE")


def _starts(spec: dict[str, Any]) -> str:
    """Returns what starts the runs, in short."""
    trigger_ = spec.get("trigger", {})
    parts = [*spec.get("cron", ())]
    parts += ["webhook"] if trigger_.get("webhook") else []
    parts += [f"subject {trigger_['subject']}"] if trigger_.get("subject") else []
    if files := trigger_.get("files"):
        place = files.get("bucket") or files.get("folder")
        parts.append(f"files {place}/{files.get('pattern', '*')}")
    parts += [f"rows of {trigger_['rows']['table']}"] if trigger_.get("rows") else []
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
        ("watch", _watched(found.watch)),
    ]
    return render.fields(pairs)


def _watched(watch: ScheduleWatch | None) -> str:
    """Returns how far a schedule has read what it watches."""
    if watch is None:
        return ""
    looked = f"looked {when(watch.looked_at)}" if watch.looked_at else "has not looked yet"
    parts = [looked, f"{watch.taken} taken"]
    parts += [f"{watch.refused} refused"] if watch.refused else []
    parts += [f"{watch.waiting} waiting"] if watch.waiting else []
    parts += [f"{watch.error.type}: {watch.error.message}"] if watch.error else []
    return ", ".join(parts)


def _shown(found: Schedule) -> None:
    console = stdout()
    console.print(_fields(found))
    shown = {fire.number: fire for fire in (*found.recent, *found.active)}
    if shown:
        rows = [_fire(shown[number]) for number in sorted(shown, reverse=True)]
        console.print(table(("#", "PLANNED", "CAUSE", "STATUS", "RUN", "ERROR"), rows))


def _fire(fire: ScheduleFire) -> tuple[str, ...]:
    error = f"{fire.error.type}: {fire.error.message}" if fire.error else ""
    return (str(fire.number), when(fire.at), fire.cause, fire.status, fire.run_id, error)
