"""`agentctl workflow`: new runs from old ones, and one action on many runs."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentctl import following, runs, values
from agentctl.display import render
from agentctl.display.output import Format, Output, emit, note, some
from agentctl.failures import FAILED, CliError
from agentctl.options import ByTag, ByWorkflow, Reason, Since, Watch, argument, flag, moment, option
from agentctl.runs import RunId

if TYPE_CHECKING:
    from agentflow_sdk import BatchProgress, Changes, Client, Fork

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
Key = Annotated[str, option("The same key is the same new run.", "--idempotency-key")]


def changes_of(
    inputs: list[str] | None, step_inputs: list[str] | None, prompts: list[str] | None, models: list[str] | None
) -> Changes:
    """Returns the changes that the options of a fork or a retry describe."""
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
        prompts=values.parse_pairs(prompts, "--prompt"),
        models=values.parse_pairs(models, "--model"),
        step_inputs=by_step,
    )


def fork(
    client: Client,
    run: RunId,
    at: Annotated[str, option("The step that runs first.", "--at", metavar="STEP")],
    input_: Inputs = None,
    step_input: StepInputs = None,
    prompt: Prompts = None,
    model: Models = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag of the new run.")] = None,
    key: Key = "",
    watch: Watch = False,
    output: Output = Format.TABLE,
) -> None:
    """Start a new run from any step of another one, ended or not; the steps before it keep their results."""
    changes = changes_of(input_, step_input, prompt, model)
    run = runs.find(client, run)
    made = client.workflows.fork(run, at, changes=changes, tags=values.parse_tags(tag), idempotency_key=key)
    if made.stale:
        stale = ", ".join(made.stale)
        note(f"kept although they had read an input that changed: {stale} (fork at one of them instead)")
    _made(client, made, output, watch)


def retry(
    client: Client,
    run: RunId,
    input_: Inputs = None,
    step_input: StepInputs = None,
    prompt: Prompts = None,
    model: Models = None,
    key: Key = "",
    watch: Watch = False,
    output: Output = Format.TABLE,
) -> None:
    """Start a new run where a failed or cancelled one stopped; completed steps are not run again."""
    changes = changes_of(input_, step_input, prompt, model)
    made = client.workflows.retry(runs.find(client, run), changes=changes, idempotency_key=key)
    _made(client, made, output, watch)


def _made(client: Client, made: Fork, output: Format, watch: bool) -> None:
    if made.deduplicated:
        note("this was asked for before: nothing new was started")
    kept = f"{some(len(made.kept), 'step')} {'keeps its' if len(made.kept) == 1 else 'keep their'} result"
    if watch:
        note(f"run {made.run_id}; {kept}")
        following.to_end(client, made.run_id, output)
        return
    emit(made.to_dict(), output, lambda: made.run_id)
    note(f"{kept}; follow it with: agentctl workflow watch {made.run_id}")


def batch(
    client: Client,
    action: Annotated[str, argument("cancel, pause, resume, retry or signal.")],
    status: Annotated[str, option("Only runs of this status.")] = "",
    workflow: ByWorkflow = "",
    tag: ByTag = None,
    error_type: Annotated[str, option("Only runs that failed with this error.")] = "",
    since: Since = "",
    older_than: Annotated[
        str, moment("Only before this time: 1h (ago), 7d, or a date.", "--older-than", "--until", "--end")
    ] = "",
    yes: Annotated[bool, flag("Do it; without this, only show what would be done.", "--yes")] = False,
    dry_run: Annotated[bool, flag("Only show it, which is the default.", "--dry-run")] = False,
    limit: Annotated[int, typer.Option(help="The most runs.", min=1, max=100_000)] = 10_000,
    cursor: Annotated[str, option("Where an earlier call ended.")] = "",
    reason: Reason = "",
    grace: Annotated[str, moment("For cancel: how long active steps may take to end.", metavar="30s")] = "",
    force: Annotated[bool, flag("For cancel: end at once, without compensation.", "--force")] = False,
    signal: Annotated[str, option("For signal: its name.", "--signal")] = "",
    payload: Annotated[str, option("For signal: its payload.", metavar="JSON")] = "",
    batch_id: Annotated[str, option("For signal: the same id sends no run the signal twice.")] = "",
    pause_until: Annotated[
        str, moment("For pause: when the runs go on by themselves: 2h (from now), or a date.", "--pause-until")
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """Do one thing to every run that a filter finds: shown first, done with --yes; repeating it does no harm."""
    if yes and dry_run:
        raise CliError("--yes and --dry-run exclude each other", fix="give one of them")
    if action == "signal" and yes and not batch_id:
        batch_id = uuid.uuid4().hex
        note(f"this batch is --batch-id {batch_id}")
    stream = client.workflows.batch(
        values.lower(action),
        status=values.lower(status),
        workflow=workflow,
        tags=values.parse_tags(tag),
        error_type=error_type,
        since_ms=values.parse_time(since),
        until_ms=values.parse_time(older_than),
        execute=yes,
        limit=limit,
        cursor=cursor,
        reason=reason,
        force=force,
        grace_s=values.seconds(grace, "--grace"),
        signal=signal,
        payload=values.json_option(payload, "--payload"),
        batch_id=batch_id,
        pause_until=values.parse_end(pause_until, "--pause-until"),
    )
    if _followed(stream, action, yes, output).failed:
        raise typer.Exit(FAILED)


def _followed(stream: Iterable[BatchProgress], action: str, execute: bool, output: Format) -> BatchProgress:
    """Returns the sum of a batch. Progress goes to stderr, and how to continue if it breaks off."""
    from agentflow_sdk import BatchProgress

    total = BatchProgress()
    try:
        for number, progress in enumerate(stream):
            if number:
                note(f"{progress.done + progress.failed:,} of {total.matched:,}")
            total = replace(
                progress,
                matched=total.matched or progress.matched,
                sample=total.sample or progress.sample,
                failures=total.failures + progress.failures,
                created=total.created | progress.created,
            )
    except Exception:
        if total.cursor:
            note(f"it broke off; to continue, repeat the command with --cursor {total.cursor}")
        raise

    def shown() -> Any:
        if not execute:
            found = f"{some(total.matched, 'run')} (showing {len(total.sample)})"
            note(f"{action}: {found}; nothing was done, --yes does it")
            return render.runs(total.sample) if total.sample else None
        for failure in total.failures:
            note(f"{failure.run_id}: {failure.message}")
        if total.cursor and not total.finished:
            note(f"there are more: the same command with --cursor {total.cursor}")
        return f"{action}: {total.done:,} done, {total.failed:,} failed"

    emit(total.to_dict(), output, shown)
    return total


COMMANDS: Final = (fork, retry, batch)
