"""`agentctl schedule calendar`: named days on which schedules do not fire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from agentctl import values
from agentctl.display.output import Format, Output, done, note, some, table, when
from agentctl.failures import CliError
from agentctl.groups import RemoteGroup
from agentctl.listing import Listing, listed
from agentctl.options import argument, option

if TYPE_CHECKING:
    from agentflow_sdk import Calendar, Client

app = RemoteGroup("calendar", "Named calendars: days on which schedules do not fire.")
Name = Annotated[str, argument("The calendar's name.")]


@app.command("set")
def set_(
    client: Client,
    name: Name,
    dates: Annotated[list[str] | None, argument("2030-12-25, or 12-25 for every year.")] = None,
    file: Annotated[str, option("An iCalendar file (.ics), or a date a line.", "--file", "-f")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Make a calendar, or replace its dates. Schedules that name it follow the change."""
    from agentctl import holidays

    dates = [*(dates or ()), *(holidays.read(values.read_text(file), file) if file else ())]
    if not dates:
        raise CliError("which dates?", fix="give dates, or --file")
    followers = client.schedules.set_calendar(name, dates)
    done({"name": name, "dates": dates, "schedules_told": followers}, output)
    note(f"calendar {name}: {some(len(dates), 'date')}; {some(followers, 'schedule follows', 'schedules follow')} it")


@app.command("list")
@listed(200)
def list_(client: Client) -> Listing[Calendar]:
    """List calendars."""
    return lambda size, at: client.schedules.calendars(limit=size, page_token=at), _table


@app.command("delete")
def delete(client: Client, name: Name, output: Output = Format.TABLE) -> None:
    """Delete a calendar that no schedule names."""
    client.schedules.delete_calendar(name)
    done({"name": name, "deleted": True}, output)
    note(f"calendar {name}: deleted")


def _table(found: list[Calendar]) -> Any:
    rows = [(c.name, ", ".join(c.dates[:8]) + (" ..." if len(c.dates) > 8 else ""), when(c.updated_at)) for c in found]
    empty = "no calendars yet: agentctl schedule calendar set NAME 2030-12-25"
    return table(("NAME", "DATES", "CHANGED"), rows, empty=empty)
