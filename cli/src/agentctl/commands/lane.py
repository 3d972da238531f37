"""`agentctl lane`: worker pools and keyed lanes, and their limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from agentctl import values
from agentctl.display import render
from agentctl.display.output import Columns, Format, Output, emit, note, table_of, when
from agentctl.failures import CliError
from agentctl.groups import RemoteGroup
from agentctl.listing import Listing, listed
from agentctl.options import PauseEnd, argument, option

if TYPE_CHECKING:
    from agentflow_sdk import Client, Lane

app = RemoteGroup("lane", "Limits of worker pools and keyed lanes, changed live.")
Name = Annotated[str, argument("A worker pool, or the key of a lane.", "NAME")]


@app.command("list")
@listed(200)
def list_(client: Client) -> Listing[Lane]:
    """List the lanes."""
    return lambda size, at: client.lanes.list(limit=size, page_token=at), _table


@app.command()
def get(client: Client, name: Name, output: Output = Format.TABLE) -> None:
    """Show a lane: its limits, which steps use it, how many wait."""
    lane = client.lanes.get(name)
    _show(lane, output)
    if _is_unserved(lane):
        note(f"no worker serves the pool {lane.name}: start one with WORKER_LANES={lane.name}")


@app.command("set")
def set_(
    client: Client,
    name: Name,
    limit: Annotated[
        int | None, option("Steps at a time; 0 for what workers or definitions say.", min=0, max=10_000)
    ] = None,
    rate: Annotated[
        str | None,
        option("Steps that may begin: 5/s, 300/m, 100/h; 0 for no bound. Only for keyed lanes.", metavar="5/s"),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Change a lane's limits, at once and for all orgs (permission `operator`)."""
    if limit is None and rate is None:
        raise CliError("nothing to set", fix="give --limit or --rate")
    rate_per_s = None if rate is None else values.per_second(rate, "--rate")
    lane = client.lanes.set(name, limit=limit, rate_per_s=rate_per_s)
    _show(lane, output)
    _warn_if_unused(lane)


@app.command()
def pause(
    client: Client,
    name: Name,
    reason: Annotated[str, option("Why.")] = "",
    until: PauseEnd = "",
    output: Output = Format.TABLE,
) -> None:
    """Let no further step of the lane begin."""
    lane = client.lanes.set(name, paused=True, reason=reason, until=values.parse_end(until, "--until"))
    _show(lane, output)
    _warn_if_unused(lane)


@app.command()
def resume(client: Client, name: Name, output: Output = Format.TABLE) -> None:
    """Let the steps of a paused lane begin again."""
    _show(client.lanes.set(name, paused=False), output)


def _is_unserved(lane: Lane) -> bool:
    """True for a worker pool in which steps wait and no worker asks for one."""
    return bool(lane.queued) and not (lane.keyed or lane.workers or lane.active)


def _is_unused(lane: Lane) -> bool:
    return not (lane.workers or lane.active or lane.queued)


def _kind(lane: Lane, pool: str) -> str:
    """Returns the kind of a lane. A name that was set, and that nothing has used, may become either kind."""
    if lane.keyed:
        return "keyed"
    return "not used yet" if lane.by and _is_unused(lane) else pool


def _warn_if_unused(lane: Lane) -> None:
    """Warns about a lane without workers and steps: the name may be for later, a pattern, or misspelt."""
    if _is_unused(lane):
        note(f"nothing uses {lane.name} yet; the setting applies from its first step on")


def _rate(rate_per_s: float | None) -> str:
    from agentflow_common.lanes.controls import rate_text

    return "" if rate_per_s is None else rate_text(rate_per_s)


def _table(lanes: list[Lane]) -> Any:
    columns: Columns[Lane] = {
        "LANE": lambda lane: lane.name,
        "KIND": lambda lane: _kind(lane, "pool"),
        "LIMIT": lambda lane: "" if lane.limit is None else lane.limit,
        "RATE": lambda lane: _rate(lane.rate_per_s),
        "ACTIVE": lambda lane: f"{lane.active:,}",
        "QUEUED": lambda lane: f"{lane.queued:,}",
        "": lambda lane: "paused" if lane.paused else "no worker" if _is_unserved(lane) else "",
    }
    numbers = ("LIMIT", "RATE", "ACTIVE", "QUEUED")
    return table_of(lanes, columns, right=numbers, empty="no lane is known yet: none was used")


def _show(lane: Lane, output: Format) -> None:
    pairs: list[tuple[str, Any]] = [
        ("lane", lane.name),
        ("kind", _kind(lane, "worker pool")),
        ("limit", "none set" if lane.limit is None else f"{lane.limit:,} at a time"),
        ("rate", _rate(lane.rate_per_s)),
        ("paused", (lane.reason or "yes") if lane.paused else ""),
        ("paused until", when(lane.paused_until) if lane.paused_until else ""),
        ("active", f"{lane.active:,}"),
        ("queued", f"{lane.queued:,}"),
        ("used by", ", ".join(lane.holders)),
        ("set by", f"{lane.by}, {when(lane.at)}" if lane.by else ""),
    ]
    emit(lane.to_dict(), output, lambda: render.fields(pairs))
