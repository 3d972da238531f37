"""`agentctl workflow`: breakpoints of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agentctl import runs, values
from agentctl.display.output import Format, Output, emit, note
from agentctl.failures import CliError
from agentctl.groups import RemoteGroup
from agentctl.options import Reason, flag, option
from agentctl.runs import RunId

if TYPE_CHECKING:
    from agentflow_sdk import Client


def break_(
    client: Client,
    run: RunId,
    at: Annotated[list[str] | None, typer.Option(metavar="STEP", help="Stop before this step; repeatable.")] = None,
    step: Annotated[bool, flag("Stop before every step.", "--step")] = False,
    remove: Annotated[bool, flag("Remove these breakpoints, or all of them if none is named.", "--remove")] = False,
    reason: Reason = "",
    output: Output = Format.TABLE,
) -> None:
    """Set breakpoints of a run that has not ended, or remove some. A step that has begun is not stopped any more."""
    if not (at or step or remove):
        raise CliError("which breakpoint?", fix="give --at STEP, or --step for every step; --remove removes all")
    found = client.workflows.set_breakpoints(runs.find(client, run), at or (), step=step, remove=remove, reason=reason)
    places = "every step" if found.step_by_step else ", ".join(found.break_at)
    said = f"the run stops before {places}" if places else "the run has no breakpoints"
    emit(found.to_dict(), output, lambda: said)


def continue_(
    client: Client,
    run: RunId,
    step: Annotated[bool, flag("Stop again before the next step.", "--step")] = False,
    to: Annotated[str, option("Stop again before this step, once.", metavar="STEP")] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PLACE=JSON", help="Change STEP.output, or state.KEY of a graph; repeatable."),
    ] = None,
    reason: Reason = "",
    output: Output = Format.TABLE,
) -> None:
    """Let a run go on that is stopped before a breakpoint, to the next one."""
    if step and to:
        raise CliError("--step and --to exclude each other", fix="give one of them")
    pairs = dict(values.split_pair(pair, "--set") for pair in set_ or ())
    changed = {place: values.json_value(text, "--set", "--set 'STEP.output=[1, 2]'") for place, text in pairs.items()}
    run = runs.find(client, run)
    found = client.workflows.continue_run(run, step=step, to=to, values=changed, reason=reason)
    emit(found.to_dict(), output, lambda: f"run {run} goes on with {', '.join(found.steps)}")
    if found.stopped_before:
        note(f"it is stopped again before {', '.join(found.stopped_before)}")


def add_to(app: RemoteGroup) -> None:
    """Adds the commands to `agentctl workflow`. Their names are keywords of Python."""
    app.command("break")(break_)
    app.command("continue")(continue_)
