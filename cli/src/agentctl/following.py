"""Follows a run to its end for a command: progress on the way, the run at the end, its success as the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from agentctl.display.output import Format, emit, note
from agentctl.failures import FAILED

if TYPE_CHECKING:
    from agentflow_sdk import Client, Run


def to_end(client: Client, run_id: str, output: Format, *, quiet: bool = False) -> None:
    """Shows the run until it ends, then prints it. Exits with 1 unless it completed."""
    from agentctl.display import live, render

    try:
        live.follow(client, run_id, quiet=quiet)
    except KeyboardInterrupt:
        note(f"\nthe run goes on; follow it with: agentctl workflow watch {run_id}")
        raise
    run = client.workflows.wait(run_id, timeout=30)  # the API's answer may lag the last event by a moment
    note("")
    emit(run.to_dict(), output, lambda: render.run(run))
    exit_by(run)


def exit_by(run: Run) -> None:
    """Exits with 1 unless the run completed."""
    if run.status != "completed":
        raise typer.Exit(FAILED)
