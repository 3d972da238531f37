"""The calls that control runs: pause, signals, forks, explanations, batches."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

from agentflow.v1 import control_pb2 as pb
from agentflow_sdk.calls.references import RunRef, run_id_of
from agentflow_sdk.choices import BatchAction, Status
from agentflow_sdk.convert.answers import reader
from agentflow_sdk.convert.json_values import to_struct, to_value
from agentflow_sdk.convert.requests import enum_name, listed, message, run_status_name
from agentflow_sdk.models.controls import BatchProgress, Breakpoints, Changes, Continued, Explanation, Fork, Signalled
from agentflow_sdk.models.statuses import RunStatus
from agentflow_sdk.transport.call import Call, Stream, service

_METHOD: Final = service("RunControlService", pb)


def pause(run: RunRef, reason: str = "", *, until: int = 0, timeout: float | None = None) -> Call[RunStatus]:
    """Pauses a run: steps at work go on to their end, and no further step starts.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        reason: Why; the log keeps it.
        until: When it goes on by itself, ms since the epoch; 0 until it is resumed. A later pause replaces the time.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        `paused` once the scheduler has read the request, or the state after a second.

    Raises:
        InvalidArgumentError: The time lies in the past.
        NotFoundError: The org has no such run.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.PauseRunRequest(run_id=run_id_of(run), reason=reason, until=until)
    return Call(_METHOD("PauseRun"), request, reader(RunStatus, "status"), timeout)


def resume(run: RunRef, reason: str = "", *, timeout: float | None = None) -> Call[RunStatus]:
    """Lets a paused run continue.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        reason: Why; the log keeps it.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The state that the run continues in, or the state after a second.

    Raises:
        NotFoundError: The org has no such run.
        FailedPreconditionError: A breakpoint has stopped the run; `continue_run` lets it go on.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.ResumeRunRequest(run_id=run_id_of(run), reason=reason)
    return Call(_METHOD("ResumeRun"), request, reader(RunStatus, "status"), timeout)


def set_breakpoints(
    run: RunRef,
    at: str | Iterable[str] = (),
    *,
    step: bool = False,
    remove: bool = False,
    reason: str = "",
    timeout: float | None = None,
) -> Call[Breakpoints]:
    """Sets breakpoints of a run that has not ended, or removes some. A step that has begun is not stopped any more.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        at: Steps of its definition. The run stops before each visit of one.
        step: True to stop before every step.
        remove: True to remove these; without any, all breakpoints.
        reason: Why; the log keeps it.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        All breakpoints that are set now.

    Raises:
        NotFoundError: The org has no such run.
        InvalidArgumentError: The run has no such step, or no such breakpoint to remove.
        FailedPreconditionError: The run has ended.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.BreakRunRequest(run_id=run_id_of(run), at=listed(at), step_by_step=step, remove=remove, reason=reason)
    return Call(_METHOD("BreakRun"), request, reader(Breakpoints), timeout)


def continue_run(
    run: RunRef,
    *,
    step: bool = False,
    to: str = "",
    values: Mapping[str, Any] | None = None,
    reason: str = "",
    timeout: float | None = None,
) -> Call[Continued]:
    """Lets a run go on that is stopped before a breakpoint, to the next one.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        step: True to stop again before the next step.
        to: A step before which the run stops again, once. A breakpoint before it stops the run, too.
        values: New values that the following steps read, by place: `STEP.output` of a step that has completed or, in a
            graph, `state.KEY`.
        reason: Why; the log keeps it.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The steps that begin now.

    Raises:
        NotFoundError: The org has no such run.
        InvalidArgumentError: There is no step `to`, or `step` is given, too. Or a value can't be changed.
        FailedPreconditionError: The run is not stopped, or has ended.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.ContinueRunRequest(run_id=run_id_of(run), step_by_step=step, to=to, reason=reason)
    for place, value in (values or {}).items():
        request.values[place].CopyFrom(to_value(value, f"values[{place!r}]"))
    return Call(_METHOD("ContinueRun"), request, reader(Continued), timeout)


def signal(
    run: RunRef, name: str, payload: Any = None, *, signal_id: str = "", timeout: float | None = None
) -> Call[Signalled]:
    """Sends a signal to a run, or to the newest that continues it. A signal that no step waits for yet is kept.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        name: The name of the signal.
        payload: Any JSON value. It becomes the output of the step that waits for the signal.
        signal_id: A second signal with the same id changes nothing. An empty id is replaced by a random one, which
            makes the retries of this call safe.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The state of the run, and whether the signal had been received before.

    Raises:
        NotFoundError: The org has no such run.
        InvalidArgumentError: No step of the run waits for a signal of this name.
        FailedPreconditionError: The run, or the last one that continues it, has ended.
        ResourceExhaustedError: The run keeps as many signals as it may.
        AbortedError: The run is receiving many signals and is nearly full. Try again.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.SignalRunRequest(run_id=run_id_of(run), name=name, signal_id=signal_id or f"auto-{uuid.uuid4()}")
    if payload is not None:
        request.payload.CopyFrom(to_value(payload, "payload"))
    return Call(_METHOD("SignalRun"), request, reader(Signalled), timeout)


def fork(
    run: RunRef,
    at: str,
    *,
    changes: Changes | None = None,
    tags: Mapping[str, str] | None = None,
    idempotency_key: str = "",
    timeout: float | None = None,
) -> Call[Fork]:
    """Starts a new run at a step of another run, whether that one has ended or not.

    Every step that does not come after that step keeps its result.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        at: The key of the step that runs first.
        changes: What the new run changes; None for nothing.
        tags: Tags of the new run.
        idempotency_key: The same key is the same fork. An empty key is replaced by a random one, which makes the
            retries of this call safe.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The id of the new run, and the steps that keep their results.

    Raises:
        InvalidArgumentError: The changes do not fit the run.
        NotFoundError: The org has no such run, or the run has no such step.
        AlreadyExistsError: The idempotency key was used with another request.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = message(
        pb.ForkRunRequest,
        run_id=run_id_of(run),
        at=at,
        changes=_changes(changes),
        tags=tags or {},
        idempotency_key=idempotency_key or f"auto-{uuid.uuid4()}",
    )
    return Call(_METHOD("ForkRun"), request, reader(Fork), timeout)


def retry(
    run: RunRef, *, changes: Changes | None = None, idempotency_key: str = "", timeout: float | None = None
) -> Call[Fork]:
    """Starts a new run where a failed or cancelled run stopped. Completed steps keep their results.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        changes: What the new run changes; None for nothing.
        idempotency_key: A run has one retry for each key, and one for the empty key.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The id of the new run, and the steps that keep their results.

    Raises:
        InvalidArgumentError: The changes do not fit the run.
        NotFoundError: The org has no such run.
        AlreadyExistsError: The run was retried with this key and other changes.
        FailedPreconditionError: The run has neither failed nor was it cancelled.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.RetryRunRequest(run_id=run_id_of(run), changes=_changes(changes), idempotency_key=idempotency_key)
    return Call(_METHOD("RetryRun"), request, reader(Fork), timeout)


def why(run: RunRef, *, timeout: float | None = None) -> Call[Explanation]:
    """Explains why a run does not continue.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        What each open step waits for.

    Raises:
        NotFoundError: The org has no such run.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    return Call(_METHOD("ExplainRun"), pb.ExplainRunRequest(run_id=run_id_of(run)), reader(Explanation), timeout)


def batch(
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
    pause_until: int = 0,
    timeout: float | None = None,
) -> Stream[BatchProgress]:
    """Applies one action to every run that a filter finds. At least one part of the filter must be given.

    Args:
        action: `cancel`, `pause`, `resume`, `retry` or `signal`.
        status: Only runs in this state; None for all.
        workflow: Only runs of this workflow.
        tags: Only runs that have all of these tags.
        since_ms: Only runs that were submitted from this time on, ms since the epoch; 0 for no bound.
        until_ms: Only runs that were submitted before this time, ms since the epoch; 0 for no bound.
        error_type: Only runs that failed with an error of this type.
        execute: False to get only the number of runs and a sample.
        limit: The most runs, from 1 to 100,000; 0 for 10,000.
        cursor: The last `cursor` of an earlier batch that broke off, to continue there; empty for the start.
        reason: Why; the log keeps it.
        grace_s: For `cancel`: seconds that active steps may take to end by themselves.
        force: For `cancel`: True to end the runs at once, without compensation.
        signal: For `signal`: the name of the signal.
        payload: For `signal`: any JSON value.
        batch_id: For `signal`: repeating a batch with the same id sends no run the signal twice.
        pause_until: For `pause`: when the runs go on by themselves, ms since the epoch; 0 until they are resumed.
        timeout: Seconds for the whole batch; None for no end.

    Returns:
        An iterator over the progress. Closing it stops the batch.

    Raises:
        InvalidArgumentError: The action or the status is not known, the filter is empty, or `pause_until` is in the
            past.
        ResourceExhaustedError: The gateway executes as many batches as it may.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = message(
        pb.BatchRunsRequest,
        action=enum_name("BATCH_ACTION", action, get_args(BatchAction), "action"),
        filter=message(
            pb.RunFilter,
            status=run_status_name(status),
            workflow=workflow,
            tags=tags or {},
            since=since_ms,
            until=until_ms,
            error_type=error_type,
        ),
        execute=execute,
        limit=limit,
        cursor=cursor,
        reason=reason,
        grace_ms=round(grace_s * 1000),
        force=force,
        signal=signal,
        batch_id=batch_id,
        until=pause_until,
    )
    if payload is not None:
        request.payload.CopyFrom(to_value(payload, "payload"))
    return Stream.once(_METHOD("BatchRuns"), request, reader(BatchProgress), timeout)


def pause_workflow(workflow: str, reason: str = "", *, until: int = 0, timeout: float | None = None) -> Call[None]:
    """Pauses all runs of a workflow, including those that are submitted later.

    Args:
        workflow: The name of the workflow.
        reason: Why; it is shown with the workflow.
        until: When they go on by itself, ms since the epoch; 0 until they are resumed. A later pause replaces the time.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        None.

    Raises:
        InvalidArgumentError: The name is not valid, or the time lies in the past.
        AbortedError: Others change the pause at the same time. Try again.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.PauseWorkflowRequest(workflow=workflow, reason=reason, until=until)
    return Call(_METHOD("PauseWorkflow"), request, lambda _: None, timeout)


def resume_workflow(workflow: str, *, timeout: float | None = None) -> Call[bool]:
    """Lets the runs of a paused workflow continue.

    Args:
        workflow: The name of the workflow.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        False if the workflow was not paused.

    Raises:
        InvalidArgumentError: The name is not valid.
        AbortedError: Others change the pause at the same time. Try again.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.ResumeWorkflowRequest(workflow=workflow)
    return Call(_METHOD("ResumeWorkflow"), request, lambda reply: bool(reply.changed), timeout)


def _changes(changes: Changes | None) -> Any:
    given = changes or Changes()
    made = message(pb.RunChanges, inputs=to_struct(given.inputs, "inputs"), prompts=given.prompts, models=given.models)
    for node, values in given.step_inputs.items():
        made.step_inputs[node].CopyFrom(to_struct(values, f"step_inputs.{node}"))
    return made
