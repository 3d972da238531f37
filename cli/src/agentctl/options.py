"""How the options of commands are declared, and those that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agentctl.failures import CliError


def option(help: str, *names: str, show_default: bool = False, **settings: Any) -> Any:
    """Returns an option. names: `--name`, `-n`; if none is given, the parameter's own. `settings` are Typer's."""
    return typer.Option(*names, help=help, show_default=show_default, **settings)


def moment(help: str, *names: str, show_default: bool = False, **settings: Any) -> Any:
    """Returns an option for a time or a duration. It may be left out, and is refused if its text is empty.

    A script gives an empty text if its variable is not set. A pause without an end would follow from that.
    """
    return typer.Option(*names, help=help, show_default=show_default, callback=_not_empty, **settings)


def _not_empty(ctx: typer.Context, param: typer.CallbackParam, value: str) -> str:
    source = ctx.get_parameter_source(param.name or "")
    if not value.strip() and source is not None and source.name == "COMMANDLINE":
        raise CliError(f"{param.opts[0]} is empty", fix="write a time, or leave it out")
    return value


def argument(help: str, metavar: str | None = None, **settings: Any) -> Any:
    """Returns an argument. `settings` are Typer's."""
    return typer.Argument(help=help, metavar=metavar, show_default=False, **settings)


def flag(help: str, *names: str) -> Any:
    """Returns a switch that is off unless it is given."""
    return typer.Option(*names, help=help)


DataDir = Annotated[Path | None, option("The stack's data dir; AGENTFLOW_DATA_DIR or ./.agentflow.")]
BreakAt = Annotated[
    list[str] | None,
    option("Stop before this step until `workflow continue`; repeatable.", "--break-at", metavar="STEP"),
]
DryRun = Annotated[bool, flag("Only show what would be done.", "--dry-run")]
Prefix = Annotated[str, option("Only names that begin with this.")]
Reason = Annotated[str, option("Why; the log keeps it.")]
Reveal = Annotated[bool, flag("Show the original private values; needs --reason.", "--reveal")]
RevealReason = Annotated[str, option("Why you need the originals; the audit log keeps it.", "--reason")]
PauseEnd = Annotated[str, moment("When the pause ends by itself: 2h, 2026-12-01T08:00Z.", metavar="TIME")]
Step = Annotated[str, argument("The step.", "STEP")]
Watch = Annotated[bool, flag("Show progress until the run ends.", "--watch", "-w")]

# filters
ByWorkflow = Annotated[str, option("Only runs of this workflow.", "--workflow")]
ByTag = Annotated[list[str] | None, option("Only runs with this tag.", "--tag", metavar="KEY=VALUE")]
Since = Annotated[str, moment("Only from this time on: 1h (ago), 7d, or a date.", "--since", "--start")]
Until = Annotated[str, moment("Only before this time: 1h (ago), 7d, or a date.", "--until", "--end")]
