"""`agentctl workflow`: tell a run something. Cancel, pause, resume, signals, answers, and why it waits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentctl import runs, values
from agentctl.display import paging
from agentctl.display.output import Format, Output, clean, emit, note, table, when
from agentctl.failures import CliError
from agentctl.runs import RunId
from agentctl.session import open_client, remote

if TYPE_CHECKING:
    from agentflow_sdk import Answered, Client

StepName = Annotated[str, typer.Argument(metavar="STEP", help="The step.", show_default=False)]
Target = Annotated[
    str,
    typer.Argument(
        metavar="RUN|NAME",
        help="Id of a run, the beginning of one, `last`, or the name of a workflow.",
        show_default=False,
    ),
]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the log.", show_default=False)]
As = Annotated[
    str, typer.Option("--as", metavar="PERSON", help="Answer in this name (permission `admin`).", show_default=False)
]
_COMMAND: Final = re.compile(r" \((agentctl [^()]*)\)")
Comment = Annotated[str, typer.Option(help="A word for the log.", show_default=False)]
Data = Annotated[
    str, typer.Option(metavar="JSON", help="Goes into the step's output; @file for a file.", show_default=False)
]


@remote
def cancel(
    run: RunId,
    reason: Reason = "",
    grace: Annotated[
        str, typer.Option(metavar="30s", help="How long running steps may take to end.", show_default=False)
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="At once, and without compensation.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Ask a run to stop. A finished run stays as it is."""
    grace_s = values.seconds(grace, "--grace") if grace else 0.0
    if grace_s and force:
        raise CliError("--grace and --force exclude each other", fix="give one of them")
    with open_client() as client:
        run = runs.find(client, run)
        status = client.workflows.cancel(run, reason, grace_s=grace_s, force=force)
        following = _continued_as(client, run) if status.value == "completed" else ""
    said = f"run {run} had ended already: {status}" if status.is_final else f"run {run}: cancellation requested"
    if following:
        said += f"; it went on as {following}, which is to be cancelled itself"
    emit({"run_id": run, "status": status.value}, output, lambda: said)


def _continued_as(client: Client, run: str) -> str:
    from agentflow_sdk import PermissionDeniedError

    try:
        return client.workflows.get(run).continued_as
    except PermissionDeniedError:  # the key may write and not read
        return ""


@remote
def pause(target: Target, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """Offer no further step of a run; or of any run of a workflow, those to come too."""
    with open_client() as client:
        if not runs.is_run(target):
            client.workflows.pause_workflow(target, reason)
            data, said = {"workflow": target, "paused": True}, f"workflow {target} is paused"
        else:
            target = runs.find(client, target)
            status = client.workflows.pause(target, reason)
            data = {"run_id": target, "status": status.value}
            said = f"run {target}: pause requested"
            if status.is_final or status.value == "paused":
                said = f"run {target} is paused" if not status.is_final else f"run {target} had ended already: {status}"
    emit(data, output, lambda: said)


@remote
def resume(target: Target, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """Let a paused run, or a paused workflow, go on."""
    with open_client() as client:
        if not runs.is_run(target):
            changed = client.workflows.resume_workflow(target)
            data: dict[str, Any] = {"workflow": target, "paused": False, "changed": changed}
            said = f"workflow {target} goes on" if changed else f"workflow {target} was not paused"
        else:
            target = runs.find(client, target)
            status = client.workflows.resume(target, reason)
            data = {"run_id": target, "status": status.value}
            said = f"run {target} had ended already: {status}" if status.is_final else f"run {target} goes on"
    emit(data, output, lambda: said)


@remote
def signal(
    run: RunId,
    name: Annotated[str, typer.Argument(help="The signal's name.", show_default=False)],
    payload: Annotated[
        str, typer.Option("--payload", "-p", metavar="JSON", help="What it carries; @file for a file.")
    ] = "",
    signal_id: Annotated[
        str, typer.Option("--id", help="The same id is the same signal, however often it is sent.", show_default=False)
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """Give a run a signal; one that no step waits for yet is kept."""
    value = values.json_value(payload, "--payload") if payload else None
    with open_client() as client:
        run = runs.find(client, run)
        found = client.workflows.signal(run, name, value, signal_id=signal_id)
    said = "was received before, nothing changed" if found.deduplicated else "received"
    emit(found.to_dict(), output, lambda: f"signal {name} {said}")


@remote
def approvals(
    workflow: Annotated[str, typer.Option(help="Only of this workflow.", show_default=False)] = "",
    approver: Annotated[str, typer.Option(help="Only what this person may answer.", show_default=False)] = "",
    limit: paging.Limit = 50,
    everything: paging.All = False,
    page_token: paging.PageToken = "",
    output: Output = Format.TABLE,
) -> None:
    """List what waits for an approval, across runs, the longest waiting first."""
    with open_client() as client:
        page, token = paging.collect(
            lambda size, at: client.workflows.approvals(
                workflow=workflow, approver=approver, limit=size, page_token=at
            ),
            limit, everything, page_token,
        )  # fmt: skip

    def render() -> Any:
        rows = [
            (
                item.run_id,
                item.workflow,
                item.step,
                f"{sum(answer == 'approve' for answer in item.answers.values())} of {item.required}",
                ", ".join(item.approvers) or "anyone",
                when(item.since),
                when(item.expires_at),
                item.message,
            )
            for item in page
        ]
        columns = ("RUN", "WORKFLOW", "STEP", "APPROVED", "APPROVERS", "SINCE", "EXPIRES", "MESSAGE")
        return table(columns, rows, empty="nothing waits for an approval", less=("EXPIRES", "SINCE", "WORKFLOW"))

    emit([item.to_dict() for item in page], output, render)
    paging.closing(len(page), token)


@remote
def approve(
    run: RunId, step: StepName, comment: Comment = "", data: Data = "", as_: As = "", output: Output = Format.TABLE
) -> None:
    """Approve a step that waits for it."""
    value = values.json_value(data, "--data") if data else None
    with open_client() as client:
        run = runs.find(client, run)
        found = client.workflows.approve(run, step, comment, data=value, as_person=as_)
    _answered(found, step, "approved", output)


@remote
def reject(
    run: RunId, step: StepName, comment: Comment = "", data: Data = "", as_: As = "", output: Output = Format.TABLE
) -> None:
    """Reject a step that waits for an approval."""
    value = values.json_value(data, "--data") if data else None
    with open_client() as client:
        run = runs.find(client, run)
        found = client.workflows.reject(run, step, comment, data=value, as_person=as_)
    _answered(found, step, "rejected", output)


def _answered(found: Answered, step: str, what: str, output: Format) -> None:
    again = " before; nothing changed" if found.repeated else ""
    said = f"{found.by} {what} {step}{again} ({found.approvals} of {found.required} approvals)"
    said += "; no scheduler has looked at it yet" if found.pending else ""
    emit(found.to_dict(), output, lambda: said)


@remote
def resolve(
    run: RunId,
    step: StepName,
    completed: Annotated[bool, typer.Option("--completed", help="It took effect.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="It took no effect: run it again.")] = False,
    fail: Annotated[bool, typer.Option("--fail", help="Take it for failed.")] = False,
    result: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="Its output, needed with --completed; null if it has none; @file for a file.",
            show_default=False,
        ),
    ] = None,
    reason: Reason = "",
    output: Output = Format.TABLE,
) -> None:
    """Say what became of a step whose worker vanished in the middle of it."""
    chosen = [word for word, given in (("completed", completed), ("retry", retry), ("fail", fail)) if given]
    if len(chosen) != 1:
        raise CliError("say what became of it", fix="give one of --completed, --retry and --fail")
    if completed and result is None:
        raise CliError("--completed needs the step's output", fix="add --result JSON; --result null if it has none")
    given = {} if result is None else {"output": values.json_value(result, "--result")}
    with open_client() as client:
        run = runs.find(client, run)
        attempt = client.workflows.resolve(run, step, values.word(chosen[0]), reason=reason, **given)
    data = {"run_id": run, "step": step, "attempt": attempt, "outcome": chosen[0]}
    emit(data, output, lambda: f"attempt {attempt} of {step}: {chosen[0]}")


@remote
def why(run: RunId, output: Output = Format.TABLE) -> None:
    """Say what each step of a run waits for."""
    with open_client() as client:
        run = runs.find(client, run)
        found = client.workflows.why(run)

    def render() -> Any:
        if found.summary:
            note(clean(found.summary))
        if not found.waiting:
            return None if found.summary else "no step waits"
        return table(("STEP", "WAITS FOR", ""), [(item.step, item.kind, asked(item.text)[0]) for item in found.waiting])

    emit(found.to_dict(), output, render)
    if output is Format.TABLE:
        for command in dict.fromkeys(command for item in found.waiting for command in asked(item.text)[1]):
            note(f"  {command}")
    if found.more:
        note(f"and {found.more:,} more steps")


def asked(text: str) -> tuple[str, list[str]]:
    """Returns a text without the commands in it, and the commands: a line of their own can be copied."""
    return _COMMAND.sub("", text), _COMMAND.findall(text)


def add_to(app: typer.Typer) -> None:
    for command in (cancel, pause, resume, signal, approvals, approve, reject, resolve, why):
        app.command()(command)
