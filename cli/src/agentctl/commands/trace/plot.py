"""`agentctl trace plot`: cost, latency and errors over time as a picture."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agentctl import values
from agentctl.display.output import note, some, when
from agentctl.failures import CliError
from agentctl.groups import RemoteGroup
from agentctl.options import ByWorkflow, moment, option

if TYPE_CHECKING:
    from agentflow_sdk import Client, TraceSeries

KINDS: Final = (".png", ".svg", ".html", ".json")


class What(StrEnum):
    """The development that a panel shows."""

    COST = "cost"
    LATENCY = "latency"
    ERRORS = "errors"
    TOKENS = "tokens"
    RUNS = "runs"


class By(StrEnum):
    """The property that tells the series apart."""

    MODEL = "model"
    WORKFLOW = "workflow"
    NODE = "node"
    STATUS = "status"


def plot(
    client: Client,
    output: Annotated[str, option("The file: .png, .svg, .html, or .json for the numbers.", "--output", "-o")],
    start: Annotated[
        str, moment("From: 30m, 1h, 7d (ago), a date, or a time.", "--start", "--since", show_default=True)
    ] = "1d",
    end: Annotated[str, moment("To: now, or as --start.", "--end", "--until", show_default=True)] = "now",
    what: Annotated[
        list[What], typer.Option("--what", help="What to draw, a panel each. May repeat; else cost, latency, errors.")
    ] = [],  # noqa: B006
    by: Annotated[By | None, typer.Option("--by", help="One series for each of these.")] = None,
    workflow: ByWorkflow = "",
) -> None:
    """Draw cost, latency and errors over time."""
    file = Path(output).expanduser()
    if file.suffix.lower() not in KINDS:
        raise CliError(f"{output}: not a kind of picture", fix=f"name a file that ends in {', '.join(KINDS)}")
    series = client.traces.series(
        start_ms=values.parse_time(start),
        end_ms=values.parse_time(end),
        by=by.value if by is not None else "",
        workflow=workflow,
    )
    if not series.points:
        raise CliError("there are no runs in that time", fix="look further back: --since 7d")
    panels = [name.value for name in what] or [What.COST.value, What.LATENCY.value, What.ERRORS.value]
    title = " of ".join(filter(None, (", ".join(panels), workflow))) + (f" by {by.value}" if by is not None else "")
    file.write_bytes(_file(file.suffix.lower(), series, panels, title))
    total = sum(point.count for point in series.points)
    counted = {By.MODEL: "model call", By.NODE: "attempt"}.get(by, "run") if by is not None else "run"
    note(f"wrote {output}: {some(total, counted)} from {when(series.start_ms)} to {when(series.end_ms)}")


def _file(kind: str, series: TraceSeries, panels: list[str], title: str) -> bytes:
    from agentctl.display.plots import drawing, page

    if kind == ".json":
        return (json.dumps(series.to_dict(), ensure_ascii=False, indent=2) + "\n").encode()
    if kind == ".html":
        return page.page(series, panels, title).encode()
    return drawing.draw(series, panels, title, kind.removeprefix("."))


def add_to(app: RemoteGroup) -> None:
    """Adds the command to the group."""
    app.command()(plot)
