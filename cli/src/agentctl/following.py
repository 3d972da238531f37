"""Follows a run to its end for a command: progress on the way, the run at the end, its success as the exit code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from agentctl.display.output import Format, emit, note
from agentctl.failures import FAILED

if TYPE_CHECKING:
    from agentflow_sdk import Client, Run


def to_end(client: Client, run_id: str, output: Format, *, chain: bool = False) -> None:
    """Shows the run until it ends, then prints it. Exits with 1 unless it completed.

    chain: shows the runs that continue it, too, and prints the last one.
    """
    from agentctl.display import live

    with _going_on(run_id):
        view = live.follow(client, run_id, chain=chain)
    _show(client.workflows.wait(view.run_id, timeout=30), output)


def wait(client: Client, run_id: str, output: Format, *, chain: bool, timeout_s: float | None = None) -> None:
    """Waits silently until the run ends, then prints it. Exits with 1 unless it completed.

    chain: waits for the runs that continue it, too, and prints the last one.
    """
    with _going_on(run_id):
        run = client.workflows.wait(run_id, chain=chain, timeout=timeout_s)
    _show(run, output)


def wait_for_chain(client: Client, run_id: str, output: Format) -> None:
    """Waits like `wait` with `chain`, and says how to stop as soon as a run of the chain has ended."""
    with _going_on(run_id):
        run = client.workflows.wait(run_id)
        if run.continued_as:
            note(f"run {run_id} goes on as {run.continued_as}: this waits for the last run of the chain, however long")
            note(f"Ctrl+C ends only the wait; with a bound: agentctl workflow wait {run_id} --chain --timeout SECONDS")
            run = client.workflows.wait(run.continued_as, chain=True)
    _show(run, output)


@contextlib.contextmanager
def _going_on(run_id: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        note(f"\nthe run goes on; follow it with: agentctl workflow watch {run_id}")
        raise


def _show(run: Run, output: Format) -> None:
    from agentctl.display import render

    note("")
    emit(run.to_dict(), output, lambda: render.run(run))
    point_to_cause(run, output)
    if run.continued_as:
        note(
            f"the run goes on as {run.continued_as}; follow it with: agentctl workflow watch {run.continued_as} --chain"
        )
    exit_by(run)


def point_to_cause(run: Run, output: Format) -> None:
    """Says to a person how to learn why a run did not complete."""
    if output is Format.TABLE and run.status in ("failed", "cancelled"):
        note(f"why: agentctl trace explain {run.run_id}")


def exit_by(run: Run) -> None:
    """Exits with 1 unless the run completed."""
    if run.status != "completed":
        raise typer.Exit(FAILED)
