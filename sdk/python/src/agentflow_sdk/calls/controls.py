"""The calls that control runs, lanes and versions, as data; see calls/workflows.py."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from agentflow.v1 import control_pb2 as pb
from agentflow_sdk.calls.workflows import Call, Method, RunRef, run_id_of
from agentflow_sdk.choices import BatchAction, Outcome, Status
from agentflow_sdk.convert import controls as read
from agentflow_sdk.convert import workflows as convert
from agentflow_sdk.errors import InvalidArgumentError, Problem
from agentflow_sdk.models import controls as made
from agentflow_sdk.models import workflows as models

ACTIONS: Final = get_args(BatchAction)
_OUTCOMES: Final = get_args(Outcome)


def _method(service: str, name: str) -> Method:
    return Method(f"/agentflow.v1.{service}/{name}", getattr(pb, f"{name}Response"))


def _runs(name: str) -> Method:
    return _method("RunControlService", name)


BATCH: Final = _runs("BatchRuns")


@dataclass(frozen=True, slots=True)
class Changes:
    """What a new run does otherwise than the one it comes from. prompts, models (`provider/model`) and step_inputs are
    by node id."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    step_inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def message(self) -> Any:
        message = convert.message(
            pb.RunChanges, inputs=convert.to_struct(self.inputs, "inputs"), prompts=self.prompts, models=self.models
        )
        for node, values in self.step_inputs.items():
            message.step_inputs[node].CopyFrom(convert.to_struct(values, f"step_inputs.{node}"))
        return message


class _Unset:
    """The type of UNSET."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()  # an argument that was not given, where None means null


def _set(request: Any, name: str, value: Any) -> None:
    """Puts a JSON value into a field of type Value; None leaves it out."""
    if value is not None:
        getattr(request, name).CopyFrom(convert.to_value(value, name))


def _choice(word: str, known: tuple[str, ...], place: str) -> str:
    if word.lower() not in known:
        problem = Problem(place, f"{word!r} is not known", f"use {', '.join(known)}")
        raise InvalidArgumentError(f"unknown {place} {word!r}", problems=(problem,))
    return word.upper()


# --- runs ---


def pause(run: RunRef, reason: str = "", *, timeout: float | None = None) -> Call[models.RunStatus]:
    """Offers no further step of the run; what runs goes on to its end. Returns `paused` once the scheduler has taken
    it; if that takes more than a second, the status then."""
    request = pb.PauseRunRequest(run_id=run_id_of(run), reason=reason)
    return Call(_runs("PauseRun"), request, lambda reply: convert.run_status(reply.status), timeout)


def resume(run: RunRef, reason: str = "", *, timeout: float | None = None) -> Call[models.RunStatus]:
    """Lets a paused run go on. Returns the status with which it does, likewise."""
    request = pb.ResumeRunRequest(run_id=run_id_of(run), reason=reason)
    return Call(_runs("ResumeRun"), request, lambda reply: convert.run_status(reply.status), timeout)


def signal(
    run: RunRef, name: str, payload: Any = None, *, signal_id: str = "", timeout: float | None = None
) -> Call[made.Signalled]:
    """Gives the run a signal. signal_id: a second signal with it changes nothing; without one, a random id makes the
    retries of this call safe. Raises ResourceExhaustedError when the run keeps as many as it may."""
    request = pb.SignalRunRequest(run_id=run_id_of(run), name=name, signal_id=signal_id or f"auto-{uuid.uuid4()}")
    _set(request, "payload", payload)
    return Call(_runs("SignalRun"), request, read.signalled, timeout)


def _answer(
    decision: str, run: RunRef, step: str, comment: str, data: Any, as_person: str, timeout: float | None
) -> Call[made.Answered]:
    request = pb.AnswerApprovalRequest(
        run_id=run_id_of(run), step=step, comment=comment, as_person=as_person,
        decision=f"APPROVAL_DECISION_{decision}",
    )  # fmt: skip
    _set(request, "data", data)
    return Call(_runs("AnswerApproval"), request, read.answered, timeout)


def approve(
    run: RunRef, step: str, comment: str = "", *, data: Any = None, as_person: str = "", timeout: float | None = None
) -> Call[made.Answered]:
    """Approves one waiting step. as_person: in whose name; another than the key's own needs `admin`."""
    return _answer("APPROVE", run, step, comment, data, as_person, timeout)


def reject(
    run: RunRef, step: str, comment: str = "", *, data: Any = None, as_person: str = "", timeout: float | None = None
) -> Call[made.Answered]:
    """Rejects one waiting step."""
    return _answer("REJECT", run, step, comment, data, as_person, timeout)


def list_approvals(
    *, workflow: str = "", approver: str = "", limit: int = 50, page_token: str = "", timeout: float | None = None
) -> Call[made.ApprovalPage]:
    """What waits for an approval across runs, the longest waiting first. approver: only what this person may answer."""
    request = pb.ListApprovalsRequest(workflow=workflow, approver=approver, page_size=limit, page_token=page_token)
    return Call(_runs("ListApprovals"), request, read.approval_page, timeout)


def resolve(
    run: RunRef, step: str, outcome: Outcome, *, output: Any = UNSET, reason: str = "", timeout: float | None = None
) -> Call[int]:
    """Tells what became of an attempt whose worker vanished; returns the attempt's number.

    outcome: `completed`, `retry` (it took no effect) or `fail`. output: of a completed step; it must be given, None for
    a step without an output.
    """
    request = pb.ResolveOutcomeRequest(
        run_id=run_id_of(run), step=step, reason=reason,
        outcome=f"OUTCOME_{_choice(outcome, _OUTCOMES, 'outcome')}",
    )  # fmt: skip
    if output is not UNSET:
        request.output.CopyFrom(convert.to_value(output, "output"))
    return Call(_runs("ResolveOutcome"), request, lambda reply: int(reply.attempt), timeout)


def fork(
    run: RunRef,
    at: str,
    *,
    changes: Changes | None = None,
    tags: Mapping[str, str] | None = None,
    idempotency_key: str = "",
    timeout: float | None = None,
) -> Call[made.Fork]:
    """A new run that begins at a step of another one, finished or not; all that the step does not lead to is kept.

    idempotency_key: the same key is the same fork; without one, a random key makes the retries of this call safe.
    """
    request = convert.message(
        pb.ForkRunRequest, run_id=run_id_of(run), at=at, changes=(changes or Changes()).message(), tags=tags or {},
        idempotency_key=idempotency_key or f"auto-{uuid.uuid4()}",
    )  # fmt: skip
    return Call(_runs("ForkRun"), request, read.fork, timeout)


def retry(
    run: RunRef, *, changes: Changes | None = None, idempotency_key: str = "", timeout: float | None = None
) -> Call[made.Fork]:
    """A new run that goes on where a failed or cancelled one stopped. There is one retry of a run for each key, and
    one without."""
    request = pb.RetryRunRequest(
        run_id=run_id_of(run), changes=(changes or Changes()).message(), idempotency_key=idempotency_key
    )
    return Call(_runs("RetryRun"), request, read.fork, timeout)


def why(run: RunRef, *, timeout: float | None = None) -> Call[made.Explanation]:
    """What each step that is not decided waits for."""
    return Call(_runs("ExplainRun"), pb.ExplainRunRequest(run_id=run_id_of(run)), read.explanation, timeout)


def batch_request(
    action: BatchAction,
    *,
    status: Status | None = None,
    workflow: str = "",
    tags: Mapping[str, str] | None = None,
    since_ms: int = 0,
    until_ms: int = 0,
    error_type: str = "",
    execute: bool = False,
    limit: int = 0,
    cursor: str = "",
    reason: str = "",
    grace_s: float = 0.0,
    force: bool = False,
    signal: str = "",
    payload: Any = None,
    batch_id: str = "",
) -> Any:
    """The message of a batch. InvalidArgumentError for an action or a status that is none."""
    request = convert.message(
        pb.BatchRunsRequest,
        action=f"BATCH_ACTION_{_choice(action, ACTIONS, 'action')}",
        filter=convert.message(
            pb.RunFilter, status=convert.run_status_number(status), workflow=workflow, tags=tags or {},
            since=since_ms, until=until_ms, error_type=error_type,
        ),
        execute=execute, limit=limit, cursor=cursor, reason=reason, grace_ms=round(grace_s * 1000), force=force,
        signal=signal, batch_id=batch_id,
    )  # fmt: skip
    _set(request, "payload", payload)
    return request


def pause_workflow(workflow: str, reason: str = "", *, timeout: float | None = None) -> Call[None]:
    """Holds all runs of a workflow, those to come too."""
    request = pb.PauseWorkflowRequest(workflow=workflow, reason=reason)
    return Call(_runs("PauseWorkflow"), request, lambda _reply: None, timeout)


def resume_workflow(workflow: str, *, timeout: float | None = None) -> Call[bool]:
    """Lets a workflow's runs go on; False if it was not paused."""
    request = pb.ResumeWorkflowRequest(workflow=workflow)
    return Call(_runs("ResumeWorkflow"), request, lambda reply: bool(reply.changed), timeout)


# --- lanes ---


def list_lanes(*, limit: int = 200, page_token: str = "", timeout: float | None = None) -> Call[models.Page[made.Lane]]:
    """A page of worker pools and keyed lanes, by name. limit: 1 to 1000."""
    request = pb.ListLanesRequest(page_size=limit, page_token=page_token)
    return Call(
        _method("LaneService", "ListLanes"), request,
        lambda reply: models.Page(map(read.lane, reply.lanes), reply.next_page_token), timeout,
    )  # fmt: skip


def get_lane(name: str, *, timeout: float | None = None) -> Call[made.Lane]:
    method = _method("LaneService", "GetLane")
    return Call(method, pb.GetLaneRequest(name=name), lambda reply: read.lane(reply.lane), timeout)


def set_lane(
    name: str,
    *,
    limit: int | None = None,
    rate_per_s: float | None = None,
    paused: bool | None = None,
    reason: str = "",
    timeout: float | None = None,
) -> Call[made.Lane]:
    """Changes what is given, at once; 0 removes a limit or a rate. Needs the permission `operator`."""
    request = pb.SetLaneRequest(name=name, limit=limit, rate_per_s=rate_per_s, paused=paused, reason=reason)
    return Call(_method("LaneService", "SetLane"), request, lambda reply: read.lane(reply.lane), timeout)


# --- versions ---


def list_versions(
    workflow: str, *, limit: int = 1000, page_token: str = "", timeout: float | None = None
) -> Call[made.Versions]:
    """A page of the registered versions of a workflow with their labels, newest first. limit: 1 to 1000."""
    request = pb.ListVersionsRequest(workflow=workflow, page_size=limit, page_token=page_token)
    return Call(_method("VersionService", "ListVersions"), request, read.versions, timeout)


def set_label(
    workflow: str, label: str, version: int, *, percent: int = 100, timeout: float | None = None
) -> Call[made.Label]:
    """Points a label at a version. percent: of the label's submissions; the rest stays with the version that it had."""
    request = pb.SetLabelRequest(workflow=workflow, version=version, label=label, percent=percent)
    return Call(_method("VersionService", "SetLabel"), request, read.label, timeout)


def remove_label(workflow: str, label: str, *, timeout: float | None = None) -> Call[bool]:
    """False if there was no such label."""
    request = pb.SetLabelRequest(workflow=workflow, label=label, remove=True)
    return Call(_method("VersionService", "SetLabel"), request, lambda reply: bool(reply.changed), timeout)


def delete_workflow(workflow: str, version: int, *, timeout: float | None = None) -> Call[tuple[int, ...]]:
    """Deletes one version of a workflow; returns the versions that are left. Needs the permission `admin`.

    Raises FailedPreconditionError with the names of the labels, schedules, runs and workflows that still use it. The
    number stays taken: other content is never registered under it.
    """
    request = pb.DeleteWorkflowRequest(workflow=workflow, version=version)
    method = _method("VersionService", "DeleteWorkflow")
    return Call(method, request, lambda reply: tuple(reply.versions), timeout, repeatable=False)


def diff(old: str, new: str, *, timeout: float | None = None) -> Call[made.WorkflowDiff]:
    """What differs between two definitions: `name@version` or `name@label`, the id of a run, or YAML or JSON text."""
    request = pb.DiffWorkflowsRequest(old=_definition(old), new=_definition(new))
    return Call(_method("VersionService", "DiffWorkflows"), request, read.workflow_diff, timeout)


def _definition(text: str) -> Any:
    from agentflow_sdk.calls.workflows import is_definition_text

    if is_definition_text(text):
        return pb.DefinitionSource(definition_text=text)
    return pb.DefinitionSource(run_id=text) if text.startswith("run_") else pb.DefinitionSource(workflow=text)
