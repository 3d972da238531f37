"""`agentctl workflow`: start runs, list them, show them and follow them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentctl import following, runs, values
from agentctl.commands.workflow import control, debug, define, derive, importing, versions
from agentctl.display import render
from agentctl.display.output import Format, Output, emit, emit_one, note
from agentctl.failures import FAILED
from agentctl.groups import RemoteGroup
from agentctl.listing import Listing, listed
from agentctl.options import BreakAt, ByTag, ByWorkflow, Reveal, RevealReason, Watch, flag, option
from agentctl.runs import RunId
from agentctl.session import remote

if TYPE_CHECKING:
    from agentflow_sdk import Client, RunSummary

app = RemoteGroup("workflow", "Validate, register, submit and follow workflows.")
define.add_to(app)
importing.add_to(app)


def submit(
    client: Client,
    workflow: Annotated[
        str, typer.Argument(help="A definition file, a registered NAME, NAME@VERSION or NAME@LABEL, or - for stdin.")
    ],
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="KEY=VALUE", help="An input; numbers and JSON are read as such; @file for text."
        ),
    ] = None,
    inputs_json: Annotated[
        str, typer.Option("--inputs", "--inputs-json", metavar="JSON", help="All inputs as a JSON object, or @file.")
    ] = "",
    budget_cents: Annotated[
        int | None, option("At most this many cents for the run's model calls.", min=1, max=100_000_000)
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag to find the run by.")] = None,
    idempotency_key: Annotated[str, option("The same key is the same run, however often it is sent.")] = "",
    priority: Annotated[int, typer.Option(help="-100 to 100; higher goes first.", min=-100, max=100)] = 0,
    deadline: Annotated[
        float | None, option("Seconds for the whole run, from now.", min=0.001, max=366 * 86_400)
    ] = None,
    unregistered: Annotated[
        bool, flag("Accept a file whose name and version are registered with other content.", "--unregistered")
    ] = False,
    break_at: BreakAt = None,
    step: Annotated[bool, flag("Stop before every step.", "--step")] = False,
    watch_: Watch = False,
    wait: Annotated[bool, flag("Wait silently until the run ends.", "--wait")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Start a run. With --watch or --wait the exit code is 0 only if it completed."""
    is_file = values.is_file(workflow)
    source = values.as_text(define.read(workflow)) if is_file else workflow
    strings = values.text_inputs(source) if is_file and input_ else ()
    submission = client.workflows.submit(
        source,
        values.parse_inputs(input_ or (), inputs_json, strings),
        budget_cents=budget_cents,
        tags=values.parse_tags(tag),
        idempotency_key=idempotency_key,
        priority=priority,
        deadline_s=deadline,
        unregistered=unregistered,
        break_at=break_at or (),
        step=step,
    )
    if submission.deduplicated:
        note("this idempotency key was used before: nothing new was started")
    if watch_ or wait:
        note(f"run {submission.run_id}")
        if watch_:
            following.to_end(client, submission.run_id, output)
        else:
            following.wait_for_chain(client, submission.run_id, output)
        return
    emit(submission.to_dict(), output, lambda: submission.run_id)
    note(f"follow it with: agentctl workflow watch {submission.run_id}")


def run(client: Client, **kwargs: Any) -> None:
    """Start a run and show its progress until it ends: `submit --watch`. The exit code is 0 only if it completed."""
    submit(client, **kwargs, watch_=True)


app.command()(submit)
app.local_command()(remote(run, like=submit, hidden=("watch_", "wait")))


@app.command("list")
@listed(50)
def list_(
    client: Client,
    status: Annotated[str, option("pending, running, waiting, paused, completed, failed or cancelled.")] = "",
    workflow: ByWorkflow = "",
    tag: ByTag = None,
) -> Listing[RunSummary]:
    """List runs, newest first."""
    tags = values.parse_tags(tag)
    filtered = bool(status or workflow or tag)
    empty = "no run matches: leave out a filter" if filtered else "no runs yet: agentctl workflow submit FILE"
    return lambda size, at: client.workflows.list(
        status=values.lower(status), workflow=workflow, tags=tags, limit=size, page_token=at
    ), lambda found: render.runs(found, empty)


@app.command()
def get(
    client: Client,
    run: RunId,
    reveal: Reveal = False,
    reason: RevealReason = "",
    chain: Annotated[bool, flag("List all runs of its chain of `continue_as_new`, and their sum.", "--chain")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show a run: status, steps, cost, output."""
    if chain:
        found = client.workflows.chain(runs.find(client, run))
        total = {"runs": [item.to_dict() for item in found], "cost_nano_usd": sum(r.cost_nano_usd for r in found)}
        emit(total, output, lambda: render.chain(found))
        return
    why = values.reveal_reason(reveal, reason)
    item = client.workflows.get(runs.find(client, run), reveal=reveal, reason=why)
    emit(item.to_dict(), output, lambda: render.run(item))
    following.point_to_cause(item, output)


@app.command()
def watch(
    client: Client,
    run: RunId,
    chain: Annotated[bool, flag("Follow the runs that continue it, too.", "--chain")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Follow a run to its end. -o json prints one JSON object for each event; exit code 0 only if it completed."""
    from agentctl.display import live

    run = runs.find(client, run)
    if output is Format.TABLE:
        following.to_end(client, run, output, chain=chain)
        return
    view = live.follow(client, run, chain=chain, on_event=lambda event: emit_one(event.to_dict(), output))
    if not view.ended:
        following.exit_by(client.workflows.get(view.run_id))
    elif view.status != "completed":
        raise typer.Exit(FAILED)


@app.command()
def wait(
    client: Client,
    run: RunId,
    chain: Annotated[bool, flag("Wait for the runs that continue it, too.", "--chain")] = False,
    timeout: Annotated[float | None, option("Seconds to wait.", min=0.001, max=366 * 86_400)] = None,
    output: Output = Format.TABLE,
) -> None:
    """Wait silently until a run ends, and show it. The exit code is 0 only if it completed."""
    following.wait(client, runs.find(client, run), output, chain=chain, timeout_s=timeout)


for _command in (*control.COMMANDS, *derive.COMMANDS, *versions.COMMANDS):
    app.command()(_command)
debug.add_to(app)
