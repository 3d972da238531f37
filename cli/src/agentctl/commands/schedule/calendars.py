"""`agentctl schedule calendar`: named days on which schedules do not fire."""

from __future__ import annotations

from typing import Annotated

import typer

from agentctl import values
from agentctl.display import paging
from agentctl.display.output import Format, Output, done, emit, note, some, when
from agentctl.failures import BAD_INPUT, CliError
from agentctl.session import open_client, remote

app = typer.Typer(no_args_is_help=True, help="Named calendars: days on which schedules do not fire.")
_NONE = "no calendars yet: agentctl schedule calendar set NAME 2030-12-25"


@app.command("set")
@remote
def set_(
    name: Annotated[str, typer.Argument(help="The calendar's name.", show_default=False)],
    dates: Annotated[
        list[str] | None, typer.Argument(help="2030-12-25, or 12-25 for every year.", show_default=False)
    ] = None,
    file: Annotated[
        str, typer.Option("--file", "-f", help="An iCalendar file (.ics), or a date a line.", show_default=False)
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """Make a calendar, or put these dates in the place of its own. Schedules that name it are told."""
    from agentctl import holidays

    dates = [*(dates or ()), *(holidays.read(values.read_text(file), file) if file else ())]
    if not dates:
        raise CliError("which dates?", fix="give dates, or --file", exit_code=BAD_INPUT)
    with open_client() as client:
        told = client.schedules.set_calendar(name, dates)
    done({"name": name, "dates": dates, "schedules_told": told}, output)
    note(f"calendar {name}: {some(len(dates), 'date')}; {some(told, 'schedule was', 'schedules were')} told")


@app.command("list")
@remote
def list_(
    limit: paging.Limit = 200,
    everything: paging.All = False,
    page_token: paging.PageToken = "",
    output: Output = Format.TABLE,
) -> None:
    """List calendars."""
    from agentctl.display.output import table

    with open_client() as client:
        found, token = paging.collect(
            lambda size, at: client.schedules.calendars(limit=size, page_token=at), limit, everything, page_token
        )
    rows = [(c.name, ", ".join(c.dates[:8]) + (" ..." if len(c.dates) > 8 else ""), when(c.updated_at)) for c in found]
    emit([c.to_dict() for c in found], output, lambda: table(("NAME", "DATES", "CHANGED"), rows, empty=_NONE))
    paging.closing(len(found), token)


@app.command("delete")
@remote
def delete(
    name: Annotated[str, typer.Argument(help="The calendar's name.", show_default=False)],
    output: Output = Format.TABLE,
) -> None:
    """Delete a calendar that no schedule names."""
    with open_client() as client:
        client.schedules.delete_calendar(name)
    done({"name": name, "deleted": True}, output)
    note(f"calendar {name}: deleted")
