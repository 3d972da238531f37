"""`agentctl lane`: worker pools and keyed lanes, and their limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentctl import values
from agentctl.display import paging
from agentctl.display.output import Format, Output, emit, note, table, when
from agentctl.failures import CliError
from agentctl.session import open_client, remote

if TYPE_CHECKING:
    from agentflow_sdk import Lane

app = typer.Typer(no_args_is_help=True, help="Lanes: how many steps run at a time, changed live.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A worker pool, or the key of a lane.", show_default=False)]


@app.command("list")
@remote
def list_(
    limit: paging.Limit = 200,
    everything: paging.All = False,
    page_token: paging.PageToken = "",
    output: Output = Format.TABLE,
) -> None:
    """List the lanes."""
    with open_client() as client:
        lanes, token = paging.collect(
            lambda size, at: client.lanes.list(limit=size, page_token=at), limit, everything, page_token
        )

    def render() -> Any:
        rows = [
            (
                lane.name,
                "keyed" if lane.keyed else "pool",
                "" if lane.limit is None else str(lane.limit),
                "" if lane.rate_per_s is None else _rate(lane.rate_per_s),
                f"{lane.active:,}",
                f"{lane.queued:,}",
                "paused" if lane.paused else "",
            )
            for lane in lanes
        ]
        columns = ("LANE", "KIND", "LIMIT", "RATE", "ACTIVE", "QUEUED", "")
        return table(
            columns, rows, right=("LIMIT", "RATE", "ACTIVE", "QUEUED"), empty="no lane is known yet: none was used"
        )

    emit([lane.to_dict() for lane in lanes], output, render)
    paging.closing(len(lanes), token)


@app.command()
@remote
def get(name: Name, output: Output = Format.TABLE) -> None:
    """Show a lane: its limits, who holds it, how many wait."""
    with open_client() as client:
        lane = client.lanes.get(name)
    emit(lane.to_dict(), output, lambda: _fields(lane))


@app.command("set")
@remote
def set_(
    name: Name,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Steps at a time; 0 for what workers or definitions say.", show_default=False, min=0, max=10_000
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="5/s",
            help="Steps that may begin: 5/s, 300/m, 100/h; 0 for no bound. Of keyed lanes.",
            show_default=False,
        ),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Change a lane's limits, at once and for all orgs (permission `operator`)."""
    if limit is None and rate is None:
        raise CliError("nothing to set", fix="give --limit or --rate")
    rate_per_s = None if rate is None else values.per_second(rate, "--rate")
    with open_client() as client:
        lane = client.lanes.set(name, limit=limit, rate_per_s=rate_per_s)
    emit(lane.to_dict(), output, lambda: _fields(lane))
    _unused(lane)


@app.command()
@remote
def pause(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why.", show_default=False)] = "",
    output: Output = Format.TABLE,
) -> None:
    """Let no further step of the lane begin."""
    with open_client() as client:
        lane = client.lanes.set(name, paused=True, reason=reason)
    emit(lane.to_dict(), output, lambda: _fields(lane))
    _unused(lane)


@app.command()
@remote
def resume(name: Name, output: Output = Format.TABLE) -> None:
    """Let a paused lane go on."""
    with open_client() as client:
        lane = client.lanes.set(name, paused=False)
    emit(lane.to_dict(), output, lambda: _fields(lane))


def _unused(lane: Lane) -> None:
    """A name may come later, or be a pattern; a misspelt one would hold for nothing without a word."""
    if not (lane.workers or lane.active or lane.queued):
        note(f"no worker serves {lane.name} and nothing waits in it now; the setting holds once something does")


def _rate(rate_per_s: float) -> str:
    from agentflow_common.lanes.controls import rate_text

    return rate_text(rate_per_s)


def _fields(lane: Lane) -> Any:
    from agentctl.display import render

    pairs: list[tuple[str, Any]] = [
        ("lane", lane.name),
        ("kind", "keyed" if lane.keyed else "worker pool"),
        ("limit", "none set" if lane.limit is None else f"{lane.limit:,} at a time"),
        ("rate", "" if lane.rate_per_s is None else _rate(lane.rate_per_s)),
        ("paused", (lane.reason or "yes") if lane.paused else ""),
        ("active", f"{lane.active:,}"),
        ("queued", f"{lane.queued:,}"),
        ("held by", ", ".join(lane.holders)),
        ("set by", f"{lane.by}, {when(lane.at)}" if lane.by else ""),
    ]
    return render.fields(pairs)
