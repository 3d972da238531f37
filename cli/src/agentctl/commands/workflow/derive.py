"""`agentctl workflow`: new runs from old ones, and one action on many runs."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentctl import runs, values
from agentctl.display.output import Format, Output, emit, note, some
from agentctl.failures import FAILED, CliError
from agentctl.runs import RunId
from agentctl.session import open_client, remote

if TYPE_CHECKING:
    from agentflow_sdk import BatchProgress, Changes, Fork

Inputs = Annotated[
    list[str] | None, typer.Option("--input", "-i", metavar="KEY=VALUE", help="Another input of the run; @file.")
]
StepInputs = Annotated[
    list[str] | None, typer.Option("--step-input", metavar="STEP.KEY=VALUE", help="Another argument of a step; @file.")
]
Prompts = Annotated[list[str] | None, typer.Option("--prompt", metavar="STEP=REF", help="Another prompt of a step.")]
Models = Annotated[
    list[str] | None, typer.Option("--model", metavar="STEP=PROVIDER/MODEL", help="Another model of a step.")
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show progress until the new run ends.")]
Key = Annotated[str, typer.Option("--idempotency-key", help="The same key is the same new run.", show_default=False)]


def changes_of(
    inputs: list[str] | None, step_inputs: list[str] | None, prompts: list[str] | None, models: list[str] | None
) -> Changes:
    from agentflow_sdk import Changes

    by_step: dict[str, dict[str, Any]] = {}
    for pair in step_inputs or ():
        place, value = values.split_pair(pair, "--step-input")
        step, dot, name = place.partition(".")
        if not dot or not step or not name:
            raise CliError(f"--step-input {pair!r}: not STEP.KEY=VALUE", fix="write --step-input analyze.limit=3")
        by_step.setdefault(step, {}).update(values.parse_inputs([f"{name}={value}"]))
    return Changes(
        inputs=values.parse_inputs(inputs or ()),
        prompts=dict(values.split_pair(pair, "--prompt") for pair in prompts or ()),
        models=dict(values.split_pair(pair, "--model") for pair in models or ()),
        step_inputs=by_step,
    )


@remote
def fork(
    run: RunId,
    at: Annotated[str, typer.Option("--at", metavar="STEP", help="The step that runs first.", show_default=False)],
    input_: Inputs = None,
    step_input: StepInputs = None,
    prompt: Prompts = None,
    model: Models = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag of the new run.")] = None,
    key: Key = "",
    watch: Watch = False,
    output: Output = Format.TABLE,
) -> None:
    """Start a new run from any step of another one, finished or not; the steps before it keep their results."""
    changes = changes_of(input_, step_input, prompt, model)
    with open_client() as client:
        run = runs.find(client, run)
        made = client.workflows.fork(run, at, changes=changes, tags=values.parse_tags(tag or ()), idempotency_key=key)
    if made.stale:
        stale = ", ".join(made.stale)
        note(f"kept although they had read an input that changed: {stale} (fork at one of them instead)")
    _made(made, output, watch)


@remote
def retry(
    run: RunId,
    input_: Inputs = None,
    step_input: StepInputs = None,
    prompt: Prompts = None,
    model: Models = None,
    key: Key = "",
    watch: Watch = False,
    output: Output = Format.TABLE,
) -> None:
    """Start a new run where a failed or cancelled one stopped; what had succeeded is not run again."""
    changes = changes_of(input_, step_input, prompt, model)
    with open_client() as client:
        run = runs.find(client, run)
        made = client.workflows.retry(run, changes=changes, idempotency_key=key)
    _made(made, output, watch)


def _made(made: Fork, output: Format, watch: bool) -> None:
    if made.deduplicated:
        note("this was asked for before: nothing new was started")
    kept = f"{some(len(made.kept), 'step')} {'keeps its' if len(made.kept) == 1 else 'keep their'} result"
    if watch:
        from agentctl import following

        note(f"run {made.run_id}; {kept}")
        with open_client() as client:
            following.to_end(client, made.run_id, output)
        return
    emit(made.to_dict(), output, lambda: made.run_id)
    note(f"{kept}; follow it with: agentctl workflow watch {made.run_id}")


@remote
def batch(
    action: Annotated[str, typer.Argument(help="cancel, pause, resume, retry or signal.", show_default=False)],
    status: Annotated[str, typer.Option(help="Only runs of this status.", show_default=False)] = "",
    workflow: Annotated[str, typer.Option(help="Only runs of this workflow.", show_default=False)] = "",
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only runs with this tag.")] = None,
    error_type: Annotated[str, typer.Option(help="Only runs that failed with this error.", show_default=False)] = "",
    since: Annotated[
        str, typer.Option("--since", "--start", help="Submitted since: 1h, 7d, 2030-01-31.", show_default=False)
    ] = "",
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than", "--until", "--end", help="Submitted before: 1h, 7d, 2030-01-31.", show_default=False
        ),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only show what would be done.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show it, which is the default.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many runs.", min=1, max=100_000)] = 10_000,
    cursor: Annotated[str, typer.Option(help="Where an earlier call ended.", show_default=False)] = "",
    reason: Annotated[str, typer.Option(help="Why; it is kept in the log.", show_default=False)] = "",
    grace: Annotated[str, typer.Option(metavar="30s", help="For cancel.", show_default=False)] = "",
    force: Annotated[bool, typer.Option("--force", help="For cancel.")] = False,
    signal: Annotated[str, typer.Option("--signal", help="For signal: its name.", show_default=False)] = "",
    payload: Annotated[str, typer.Option(metavar="JSON", help="For signal: what it carries.", show_default=False)] = "",
    batch_id: Annotated[
        str, typer.Option(help="For signal: the same id gives no run the signal twice.", show_default=False)
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """Do one thing to every run that a filter finds: shown first, done with --yes; repeating it does no harm."""
    if yes and dry_run:
        raise CliError("--yes and --dry-run exclude each other", fix="give one of them")
    if action == "signal" and yes and not batch_id:
        batch_id = uuid.uuid4().hex
        note(f"this batch is --batch-id {batch_id}")
    options: dict[str, Any] = {
        "status": status, "workflow": workflow, "tags": values.parse_tags(tag or ()), "error_type": error_type,
        "since_ms": values.parse_time(since) if since else 0,
        "until_ms": values.parse_time(older_than) if older_than else 0,
        "execute": yes, "limit": limit, "cursor": cursor, "reason": reason, "force": force,
        "grace_s": values.seconds(grace, "--grace") if grace else 0.0, "signal": signal,
        "payload": values.json_value(payload, "--payload") if payload else None, "batch_id": batch_id,
    }  # fmt: skip
    with open_client() as client:
        total = _followed(client.workflows.batch(values.word(action), **options), action, yes, output)
    if total["failed"]:
        raise typer.Exit(FAILED)


def _followed(stream: Any, action: str, execute: bool, output: Format) -> dict[str, Any]:
    """The sum of a batch; progress goes to stderr, and how to go on if it breaks off."""
    total: dict[str, Any] = {
        "matched": 0, "done": 0, "failed": 0, "failures": [], "created": {}, "cursor": "", "finished": False,
        "sample": [],
    }  # fmt: skip
    first: BatchProgress | None = None
    try:
        for progress in stream:
            if first is None:
                first = progress
                total["matched"] = progress.matched
                total["sample"] = [item.to_dict() for item in progress.sample]
            else:
                note(f"{progress.done + progress.failed:,} of {total['matched']:,}")
            total |= {"done": progress.done, "failed": progress.failed, "finished": progress.finished}
            total["failures"] += [item.to_dict() for item in progress.failures]
            total["created"] |= progress.created
            total["cursor"] = progress.cursor
    except Exception:
        if total["cursor"]:
            note(f"it broke off; the same command with --cursor {total['cursor']} goes on, or from the start without")
        raise

    def render() -> Any:
        from agentctl.display import render

        if not execute:
            shown = len(first.sample) if first is not None else 0
            note(f"{action}: {some(total['matched'], 'run')} (showing {shown}); nothing was done, --yes does it")
            return render.runs(first.sample) if first is not None and first.sample else None
        for failure in total["failures"]:
            note(f"{failure['run_id']}: {failure['message']}")
        if total["cursor"] and not total["finished"]:
            note(f"there are more: the same command with --cursor {total['cursor']}")
        return f"{action}: {total['done']:,} done, {total['failed']:,} failed"

    emit(total, output, render)
    return total


def add_to(app: typer.Typer) -> None:
    for command in (fork, retry, batch):
        app.command()(command)
