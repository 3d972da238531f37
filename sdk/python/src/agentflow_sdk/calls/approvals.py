"""The calls by which people answer: approvals, and the outcome of a step whose worker was lost."""

from __future__ import annotations

from typing import Any, Final, get_args

from agentflow.v1 import control_pb2 as pb
from agentflow_sdk.calls.references import RunRef, run_id_of
from agentflow_sdk.choices import Outcome
from agentflow_sdk.convert.answers import reader
from agentflow_sdk.convert.json_values import to_value
from agentflow_sdk.convert.requests import enum_name
from agentflow_sdk.models.approvals import Answered, ApprovalPage
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("RunControlService", pb)


class _Unset:
    """The type of UNSET."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()  # an argument that was not given, where None means null


def approve(
    run: RunRef, step: str, comment: str = "", *, data: Any = None, as_person: str = "", timeout: float | None = None
) -> Call[Answered]:
    """Approves a step that waits for an approval.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        step: The key of the step.
        comment: A comment for the log.
        data: Any JSON value. The step's output contains it.
        as_person: The person in whose name to answer; empty for the API key's own. Another one needs the permission
            `admin`.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The number of approvals so far, and whether this answer had been given before.

    Raises:
        NotFoundError: The org has no such run, or the run has no such step.
        FailedPreconditionError: The step does not wait for an approval, or the run has ended.
        AlreadyExistsError: This person has given another answer.
        PermissionDeniedError: The person may not answer this step, or the API key lacks the permission `write`.
    """
    return _answer("APPROVE", run, step, comment, data, as_person, timeout)


def reject(
    run: RunRef, step: str, comment: str = "", *, data: Any = None, as_person: str = "", timeout: float | None = None
) -> Call[Answered]:
    """Rejects a step that waits for an approval.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        step: The key of the step.
        comment: A comment for the log.
        data: Any JSON value. The step's output contains it.
        as_person: The person in whose name to answer; empty for the API key's own. Another one needs the permission
            `admin`.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The number of approvals so far, and whether this answer had been given before.

    Raises:
        NotFoundError: The org has no such run, or the run has no such step.
        FailedPreconditionError: The step does not wait for an approval, or the run has ended.
        AlreadyExistsError: This person has given another answer.
        PermissionDeniedError: The person may not answer this step, or the API key lacks the permission `write`.
    """
    return _answer("REJECT", run, step, comment, data, as_person, timeout)


def _answer(
    decision: str, run: RunRef, step: str, comment: str, data: Any, as_person: str, timeout: float | None
) -> Call[Answered]:
    request = pb.AnswerApprovalRequest(
        run_id=run_id_of(run),
        step=step,
        comment=comment,
        as_person=as_person,
        decision=f"APPROVAL_DECISION_{decision}",
    )
    if data is not None:
        request.data.CopyFrom(to_value(data, "data"))
    return Call(_METHOD("AnswerApproval"), request, reader(Answered), timeout)


def list_approvals(
    *, workflow: str = "", approver: str = "", limit: int = 50, page_token: str = "", timeout: float | None = None
) -> Call[ApprovalPage]:
    """Returns a page of the steps that wait for an approval, in all runs. Those that wait longest come first.

    Args:
        workflow: Only steps of this workflow's runs.
        approver: Only steps that this person may answer.
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page.

    Raises:
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.ListApprovalsRequest(workflow=workflow, approver=approver, page_size=limit, page_token=page_token)
    return Call(_METHOD("ListApprovals"), request, reader(ApprovalPage), timeout)


def resolve(
    run: RunRef, step: str, outcome: Outcome, *, output: Any = UNSET, reason: str = "", timeout: float | None = None
) -> Call[int]:
    """Reports the outcome of an attempt whose worker was lost.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        step: The key of the step.
        outcome: `completed` if the step took effect, `retry` if it did not, `fail` to let it fail.
        output: The output of a completed step, any JSON value. It must be given with `completed`; None stands for null.
        reason: Why; the log keeps it.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The number of the attempt.

    Raises:
        InvalidArgumentError: The outcome is not known, or a completed step has no output.
        NotFoundError: The org has no such run, or the run has no such step.
        FailedPreconditionError: The outcome of the step is known, or its policy decides automatically.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.ResolveOutcomeRequest(
        run_id=run_id_of(run),
        step=step,
        reason=reason,
        outcome=enum_name("OUTCOME", outcome, get_args(Outcome), "outcome"),
    )
    if output is not UNSET:
        request.output.CopyFrom(to_value(output, "output"))
    return Call(_METHOD("ResolveOutcome"), request, lambda reply: int(reply.attempt), timeout)
