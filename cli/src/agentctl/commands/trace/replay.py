"""`agentctl trace replay`: what today's engine decides on recorded runs, and runs again from a step."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentctl import following, runs, values
from agentctl.display import replays
from agentctl.display.output import Format, Output, emit, note, some
from agentctl.failures import FAILED, CliError
from agentctl.groups import RemoteGroup
from agentctl.listing import LIMIT_MAX
from agentctl.options import ByWorkflow, Since, Until, flag, option

if TYPE_CHECKING:
    from agentflow_sdk import Changes, Client, TraceReplay

PAGE: Final = 200
NOTE_EVERY: Final = 25  # replays between two notes of the progress


class Mode(StrEnum):
    """The part of a run that is executed again."""

    MOCK = "mock"
    LIVE = "live"


def replay(
    client: Client,
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="Id of the run, or `last`.", show_default=False)] = "",
    mode: Annotated[
        Mode, typer.Option("--mode", help="mock: decide again, execute nothing. live: run again from --from.")
    ] = Mode.MOCK,
    from_: Annotated[str, option("live: the step that runs first.", "--from", metavar="STEP")] = "",
    override: Annotated[
        list[str] | None,
        option("live: STEP.model=PROVIDER/MODEL or STEP.prompt=NAME@VERSION; repeatable.", "--override"),
    ] = None,
    file: Annotated[Path | None, option("Replay this saved history, without a server.", "--file")] = None,
    save: Annotated[Path | None, option("Write the run's history to this file.", "--save")] = None,
    everything: Annotated[bool, flag("Replay all runs that match, and report.", "--all")] = False,
    since: Since = "",
    until: Until = "",
    workflow: ByWorkflow = "",
    status: Annotated[str, option("Only runs in this state.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="The most runs of --all.")] = 1_000,
    output: Output = Format.TABLE,
) -> None:
    """Take the decisions of a run again and find where they differ. Exit code 1: a replay diverged."""
    chosen = [name for name, given in (("RUN", run), ("--file", file), ("--all", everything)) if given]
    if len(chosen) != 1:
        raise CliError(
            f"{' and '.join(chosen)} exclude each other" if chosen else "nothing to replay",
            fix="name a run, or --file FILE, or --all --since 1d",
        )
    if mode is Mode.LIVE:
        if not run or not from_:
            raise CliError("a live replay needs a run and the step that runs first", fix="add RUN and --from STEP")
        _live(client, run, from_, changes_of(override), output)
        return
    if from_ or override:
        raise CliError(
            "--from and --override change what is executed, and mode mock executes nothing", fix="add --mode live"
        )
    if (since or until or workflow or status) and not everything:
        raise CliError("--since, --until, --workflow and --status choose among --all", fix="add --all")
    if save is not None and not run:
        raise CliError("--save writes the history of one run", fix="name the run")
    if everything:
        found = _all(client, since, until, workflow, status, limit)
        report = replays.report(found)
        emit(report, output, lambda: replays.report_table(report, found))
        if any(isinstance(one, str) or one.divergence is not None for _, one in found):
            raise typer.Exit(FAILED)
        return
    if file is not None:
        _show(_offline(file), output)
        return
    done = client.traces.replay(runs.find(client, run), history=save is not None, timeout=60.0)
    if save is not None:
        save.expanduser().write_text("\n".join(done.history) + "\n", "utf-8")
        note(f"wrote {save}: {some(len(done.history), 'line')}")
    plain = done.to_dict()
    plain.pop("history", None)
    _show(plain, output)


def _show(plain: dict[str, Any], output: Format) -> None:
    emit(plain, output, lambda: replays.one(plain))
    if plain.get("divergence"):
        raise typer.Exit(FAILED)


def changes_of(overrides: list[str] | None) -> Changes:
    """Returns the changes of a fork that the overrides describe."""
    from agentflow_sdk import Changes

    found: dict[str, dict[str, str]] = {"model": {}, "prompt": {}}
    for text in overrides or ():
        place, value = values.split_pair(text, "--override")
        step, _, what = place.rpartition(".")
        if not step or what not in found:
            raise CliError(f"--override {text!r}: not STEP.model=... or STEP.prompt=...", fix="name the step first")
        found[what][step] = value
    return Changes(models=found["model"], prompts=found["prompt"])


def _live(client: Client, run: str, at: str, changes: Changes, output: Format) -> None:
    made = client.workflows.fork(runs.find(client, run), at, changes=changes, tags={}, idempotency_key="")
    note(f"run {made.run_id}; {some(len(made.kept), 'step')} kept; compare: agentctl trace diff {run} {made.run_id}")
    following.to_end(client, made.run_id, output)


def _all(
    client: Client, since: str, until: str, workflow: str, status: str, limit: int
) -> list[tuple[str, TraceReplay | str]]:
    """Returns each run with its replay, or with the error for which there is none."""
    from agentflow_sdk import AgentFlowError

    found: list[tuple[str, TraceReplay | str]] = []
    for run_id in _matching(client, since, until, workflow, status, limit):
        try:
            found.append((run_id, client.traces.replay(run_id, timeout=60.0)))
        except AgentFlowError as error:
            found.append((run_id, str(error)))
        if len(found) % NOTE_EVERY == 0:
            diverged = sum(not isinstance(one, str) and one.divergence is not None for _, one in found)
            note(f"{len(found):,} replayed, {diverged:,} diverged")
    return found


def _matching(client: Client, since: str, until: str, workflow: str, status: str, limit: int) -> Iterator[str]:
    start_ms = values.parse_time(since) if since else 0
    end_ms = values.parse_time(until) if until else 0
    token, left = "", limit
    while left > 0:
        page = client.traces.query(
            start_ms=start_ms, end_ms=end_ms, workflow=workflow, status=values.lower(status),
            limit=min(PAGE, left), page_token=token,
        )  # fmt: skip
        for trace in page:
            yield trace.run_id
        left -= len(page)
        token = page.next_page_token
        if not token:
            return
    note(f"stopped after {limit:,} runs; --limit allows more")


def _offline(file: Path) -> dict[str, Any]:
    """Replays a history in this process; no server is asked."""
    import msgspec

    from agentflow_common.errors import InvalidError
    from agentflow_scheduler.replay import history
    from agentflow_scheduler.replay.replay import replay as replayed

    try:
        text = file.expanduser().read_bytes()
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}") from None
    try:
        key, log, kept = history.parse(text)
        reply = replayed(key, log, kept)
    except InvalidError as error:
        raise CliError(f"{file}: {error.message}") from None
    plain: dict[str, Any] = msgspec.to_builtins(reply)
    plain["run_id"] = plain.pop("run")
    if plain.get("divergence"):
        plain["divergence"]["sequence"] = plain["divergence"].pop("seq")
    return plain


def add_to(app: RemoteGroup) -> None:
    """Adds the command to the group."""
    app.command()(replay)
