"""`agentctl workflow`: control of runs. Cancel, pause, resume, signals, answers, and why a run waits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentctl import runs, values
from agentctl.display.output import Columns, Format, Output, clean, emit, note, table, table_of, when
from agentctl.failures import CliError
from agentctl.listing import Listing, listed
from agentctl.options import ByWorkflow, PauseEnd, Reason, Step, argument, flag, moment, option
from agentctl.runs import RunId

if TYPE_CHECKING:
    from agentflow_sdk import Answered, Approval, Client

Target = Annotated[str, argument("Id of a run, the beginning of one, `last`, or the name of a workflow.", "RUN|NAME")]
As = Annotated[str, option("Answer in this name (permission `admin`).", "--as", metavar="PERSON")]
Comment = Annotated[str, option("A comment for the log.")]
Data = Annotated[str, option("Goes into the step's output; @file for a file.", metavar="JSON")]
_COMMAND: Final = re.compile(r" \((agentctl [^()]*)\)")


def cancel(
    client: Client,
    run: RunId,
    reason: Reason = "",
    grace: Annotated[str, moment("How long active steps may take to end.", metavar="30s")] = "",
    force: Annotated[bool, flag("At once, and without compensation.", "--force")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Ask a run to stop. A run that has ended stays as it is."""
    grace_s = values.seconds(grace, "--grace")
    if grace_s and force:
        raise CliError("--grace and --force exclude each other", fix="give one of them")
    run = runs.find(client, run)
    status = client.workflows.cancel(run, reason, grace_s=grace_s, force=force)
    said = f"run {run} has already ended: {status}" if status.is_final else f"run {run}: cancellation requested"
    if following := _continued_as(client, run) if status.value == "completed" else "":
        said += f"; it went on as {following}, which has to be cancelled itself"
    emit({"run_id": run, "status": status.value}, output, lambda: said)


def _continued_as(client: Client, run: str) -> str:
    from agentflow_sdk import PermissionDeniedError

    try:
        return client.workflows.get(run).continued_as
    except PermissionDeniedError:  # the key may write and not read
        return ""


def pause(
    client: Client, target: Target, reason: Reason = "", until: PauseEnd = "", output: Output = Format.TABLE
) -> None:
    """Let no further step start: of a run, or of all runs of a workflow, including later ones."""
    end_ms = values.parse_end(until, "--until")
    to = f" until {when(end_ms)}" if end_ms else ""
    if runs.is_run(target):
        target = runs.find(client, target)
        status = client.workflows.pause(target, reason, until=end_ms)
        said = f"run {target} is paused{to}" if status.value == "paused" else f"run {target}: pause requested{to}"
        if status.is_final:
            said = f"run {target} has already ended: {status}"
        emit({"run_id": target, "status": status.value, "until": end_ms}, output, lambda: said)
    else:
        client.workflows.pause_workflow(target, reason, until=end_ms)
        shown = {"workflow": target, "paused": True, "until": end_ms}
        emit(shown, output, lambda: f"workflow {target} is paused{to}")


def resume(client: Client, target: Target, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """Let a paused run, or a paused workflow, continue."""
    if runs.is_run(target):
        target = runs.find(client, target)
        status = client.workflows.resume(target, reason)
        said = f"run {target} has already ended: {status}" if status.is_final else f"run {target} goes on"
        emit({"run_id": target, "status": status.value}, output, lambda: said)
    else:
        changed = client.workflows.resume_workflow(target)
        said = f"workflow {target} goes on" if changed else f"workflow {target} was not paused"
        emit({"workflow": target, "paused": False, "changed": changed}, output, lambda: said)


def signal(
    client: Client,
    run: RunId,
    name: Annotated[str, argument("The signal's name.")],
    payload: Annotated[
        str, typer.Option("--payload", "-p", metavar="JSON", help="The payload; @file for a file.")
    ] = "",
    signal_id: Annotated[str, option("The same id is the same signal, however often it is sent.", "--id")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Send a run a signal, or the newest run that continues it; one that no step waits for yet is kept."""
    value = values.json_option(payload, "--payload")
    run = runs.find(client, run)
    found = client.workflows.signal(run, name, value, signal_id=signal_id)
    if found.run_id not in {"", run}:
        note(f"run {run} went on as a new one; its newest run is {found.run_id}")
    said = "was received before; nothing changed" if found.deduplicated else "received"
    emit(found.to_dict(), output, lambda: f"signal {name} {said}")


@listed(50)
def approvals(
    client: Client,
    workflow: ByWorkflow = "",
    approver: Annotated[str, option("Only what this person may answer.")] = "",
) -> Listing[Approval]:
    """List the steps that wait for an approval, in all runs, the longest waiting first."""
    return lambda size, at: client.workflows.approvals(
        workflow=workflow, approver=approver, limit=size, page_token=at
    ), _approvals


def _approvals(found: list[Approval]) -> Any:
    columns: Columns[Approval] = {
        "RUN": lambda item: item.run_id,
        "WORKFLOW": lambda item: item.workflow,
        "STEP": lambda item: item.step,
        "APPROVED": lambda item: f"{list(item.answers.values()).count('approve')} of {item.required}",
        "APPROVERS": lambda item: ", ".join(item.approvers) or "anyone",
        "SINCE": lambda item: when(item.since),
        "EXPIRES": lambda item: when(item.expires_at),
        "MESSAGE": lambda item: item.message,
    }
    less = ("EXPIRES", "SINCE", "WORKFLOW")
    return table_of(found, columns, empty="no step waits for an approval", less=less)


def approve(
    client: Client,
    run: RunId,
    step: Step,
    comment: Comment = "",
    data: Data = "",
    as_: As = "",
    output: Output = Format.TABLE,
) -> None:
    """Approve a step that waits for it."""
    value = values.json_option(data, "--data")
    found = client.workflows.approve(runs.find(client, run), step, comment, data=value, as_person=as_)
    _answered(found, step, "approved", output)


def reject(
    client: Client,
    run: RunId,
    step: Step,
    comment: Comment = "",
    data: Data = "",
    as_: As = "",
    output: Output = Format.TABLE,
) -> None:
    """Reject a step that waits for an approval."""
    value = values.json_option(data, "--data")
    found = client.workflows.reject(runs.find(client, run), step, comment, data=value, as_person=as_)
    _answered(found, step, "rejected", output)


def _answered(found: Answered, step: str, what: str, output: Format) -> None:
    again = " before; nothing changed" if found.repeated else ""
    said = f"{found.by} {what} {step}{again} ({found.approvals} of {found.required} approvals)"
    said += "; no scheduler has read it yet" if found.pending else ""
    emit(found.to_dict(), output, lambda: said)


def resolve(
    client: Client,
    run: RunId,
    step: Step,
    completed: Annotated[bool, flag("It took effect.", "--completed")] = False,
    retry: Annotated[bool, flag("It took no effect: run it again.", "--retry")] = False,
    fail: Annotated[bool, flag("Let the step fail.", "--fail")] = False,
    result: Annotated[
        str | None,
        option("Its output, needed with --completed; null if it has none; @file for a file.", metavar="JSON"),
    ] = None,
    reason: Reason = "",
    output: Output = Format.TABLE,
) -> None:
    """Report the outcome of a step whose worker was lost."""
    chosen = [name for name, given in (("completed", completed), ("retry", retry), ("fail", fail)) if given]
    if len(chosen) != 1:
        raise CliError("which outcome?", fix="give one of --completed, --retry and --fail")
    if completed and result is None:
        raise CliError("--completed needs the step's output", fix="add --result JSON; --result null if it has none")
    given = {} if result is None else {"output": values.json_value(result, "--result")}
    run = runs.find(client, run)
    attempt = client.workflows.resolve(run, step, values.lower(chosen[0]), reason=reason, **given)
    data = {"run_id": run, "step": step, "attempt": attempt, "outcome": chosen[0]}
    emit(data, output, lambda: f"attempt {attempt} of {step}: {chosen[0]}")


def why(client: Client, run: RunId, output: Output = Format.TABLE) -> None:
    """Explain what each step of a run waits for."""
    found = client.workflows.why(runs.find(client, run))

    def render() -> Any:
        if found.summary:
            note(clean(found.summary))
        if not found.waiting:
            return None if found.summary else "no step waits"
        rows = [(item.step or "(the run)", item.kind, asked(item.text)[0]) for item in found.waiting]
        return table(("STEP", "WAITS FOR", ""), rows)

    emit(found.to_dict(), output, render)
    if output is Format.TABLE:
        for command in dict.fromkeys(command for item in found.waiting for command in asked(item.text)[1]):
            note(f"  {command}")
    if found.more:
        note(f"and {found.more:,} more steps")


def asked(text: str) -> tuple[str, list[str]]:
    """Returns (a text without the commands in it, the commands): a line of its own can be copied."""
    return _COMMAND.sub("", text), _COMMAND.findall(text)


COMMANDS: Final = (cancel, pause, resume, signal, approvals, approve, reject, resolve, why)
