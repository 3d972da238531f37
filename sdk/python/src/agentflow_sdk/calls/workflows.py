"""The calls that register definitions, and that start, read, follow and cancel runs."""

from __future__ import annotations

import random
import secrets
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final, Unpack

from agentflow.v1 import workflow_pb2 as pb
from agentflow_sdk.calls.references import DefinitionSource, RunRef, definition_fields, is_definition_text, run_id_of
from agentflow_sdk.choices import Status, SubmitOptions
from agentflow_sdk.convert.answers import reader
from agentflow_sdk.convert.json_values import to_struct
from agentflow_sdk.convert.requests import listed, message, run_status_name
from agentflow_sdk.errors import AgentFlowError, NotFoundError
from agentflow_sdk.models.statuses import RunStatus
from agentflow_sdk.models.workflows import Registration, Run, RunEvent, RunPage, Submission, Token, Validation
from agentflow_sdk.transport.call import Call, Program, Stream, built, service
from agentflow_sdk.transport.watching import Patience, WatchState

_METHOD: Final = service("WorkflowService", pb)
_ASK_S: Final = 45.0  # how long one request waits; the next one goes on
_ANSWER_S: Final = 5.0  # more than that an answer should not take
_LAG_S: Final = 0.05  # a run's answer may lag its last event by a moment


def register(
    definition: DefinitionSource, *, allow_unknown: bool = False, timeout: float | None = None
) -> Call[Registration]:
    """Stores a definition under its name and version. A registered version never changes.

    Args:
        definition: A builder, plain data, or a text in YAML or JSON.
        allow_unknown: Accepts tools and functions that no worker offers yet, and models without a known price.
            They become warnings.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The name, the version and the digest. Registering the same definition again changes nothing.

    Raises:
        InvalidArgumentError: The definition is not valid; `problems` lists each place.
        AlreadyExistsError: This name and version are registered with other content.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.RegisterWorkflowRequest(**definition_fields(definition), allow_unknown=allow_unknown)
    return Call(_METHOD("RegisterWorkflow"), request, reader(Registration), timeout)


def validate(
    definition: DefinitionSource, *, allow_unknown: bool = False, timeout: float | None = None
) -> Call[Validation]:
    """Checks a definition and stores nothing.

    Args:
        definition: A builder, plain data, or a text in YAML or JSON.
        allow_unknown: Accepts tools and functions that no worker offers yet, and models without a known price.
            They become warnings.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The result with its problems, which are returned and not raised.

    Raises:
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.ValidateWorkflowRequest(**definition_fields(definition), allow_unknown=allow_unknown)
    return Call(_METHOD("ValidateWorkflow"), request, reader(Validation), timeout)


def submit(
    workflow: DefinitionSource,
    inputs: Mapping[str, Any] | None = None,
    *,
    budget_cents: int | None = None,
    tags: Mapping[str, str] | None = None,
    idempotency_key: str = "",
    priority: int = 0,
    deadline_s: float | None = None,
    unregistered: bool = False,
    break_at: str | Iterable[str] = (),
    step: bool = False,
    timeout: float | None = None,
) -> Call[Submission]:
    """Starts a run and does not wait for it.

    Args:
        workflow: A registered workflow: `name` (its latest version), `name@2` or `name@label`. Or a definition that is
            not registered: a builder, plain data, or a text in YAML or JSON.
        inputs: The inputs by name.
        budget_cents: The most US cents that the run's model calls may cost; None for no bound of its own.
        tags: Texts by name to find the run by.
        idempotency_key: The same key is the same run, however often it is sent. An empty key is replaced by a random
            one, which makes the retries of this call safe.
        priority: From -100 to 100. Steps of a higher priority go first where steps wait for a slot.
        deadline_s: Seconds for the whole run from now on; None for the definition's own deadline.
        unregistered: Accepts a definition whose name and version are registered with other content. The run is marked.
        break_at: Steps before which the run stops (a lone text is one step), until `continue_run` is called.
        step: True to stop before every step.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The id of the run.

    Raises:
        InvalidArgumentError: The definition or the inputs are not valid; `problems` lists each place.
        NotFoundError: The org has no such workflow or version.
        AlreadyExistsError: The idempotency key was used with another request. Or the name and version are registered
            with other content, and `unregistered` is false.
        ResourceExhaustedError: A budget is spent, or too many runs wait to start. `retry_after_s` says when to retry.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    if isinstance(workflow, str) and not is_definition_text(workflow):
        source: dict[str, Any] = {"workflow": workflow}
    else:
        source = definition_fields(workflow)
    request = message(
        pb.SubmitWorkflowRequest,
        **source,
        inputs=to_struct({} if inputs is None else inputs, "inputs"),
        tags=tags or {},
        idempotency_key=idempotency_key or _new_key(),
        priority=priority,
        budget_cents=budget_cents,
        deadline_ms=None if deadline_s is None else round(deadline_s * 1000),
        unregistered=unregistered,
        break_at=listed(break_at),
        step_by_step=step,
    )
    return Call(_METHOD("SubmitWorkflow"), request, reader(Submission), timeout)


def _new_key() -> str:
    """Returns a random key that says when it was made: the server then knows that it has no older run of it."""
    made_ms = time.time_ns() // 1_000_000
    value = made_ms << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)  # a UUID, version 7
    return f"auto-{uuid.UUID(int=value)}"


def get_run(run: RunRef, *, reveal: bool = False, reason: str = "", timeout: float | None = None) -> Call[Run]:
    """Returns a run in its present state.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        reveal: True to get the original values in place of tokens. It needs the permission `reveal`.
        reason: Why the originals are needed. The audit log keeps it.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The run.

    Raises:
        NotFoundError: The org has no such run.
        PermissionDeniedError: The API key lacks the permission `read`, or `reveal` where originals are asked for.
    """
    request = pb.GetRunRequest(run_id=run_id_of(run), reveal=reveal, reveal_reason=reason)
    return Call(_METHOD("GetRun"), request, reader(Run, "run"), timeout)


def list_runs(
    *,
    status: Status | None = None,
    workflow: str = "",
    tags: Mapping[str, str] | None = None,
    limit: int = 50,
    page_token: str = "",
    run_id_prefix: str = "",
    timeout: float | None = None,
) -> Call[RunPage]:
    """Returns a page of runs, newest first.

    Args:
        status: Only runs in this state; None for all.
        workflow: Only runs of this workflow.
        tags: Only runs that have all of these tags.
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        run_id_prefix: Only runs whose ids begin with this.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page.

    Raises:
        InvalidArgumentError: The status is not known.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = message(
        pb.ListRunsRequest,
        status=run_status_name(status),
        workflow=workflow,
        tags=tags or {},
        page_size=limit,
        page_token=page_token,
        run_id_prefix=run_id_prefix,
    )
    return Call(_METHOD("ListRuns"), request, reader(RunPage), timeout)


def cancel(
    run: RunRef, reason: str = "", *, grace_s: float = 0.0, force: bool = False, timeout: float | None = None
) -> Call[RunStatus]:
    """Asks for a run to stop. A run that has ended stays as it is.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        reason: Why; the log keeps it.
        grace_s: Seconds that active steps may take to end by themselves.
        force: True to end it at once, without compensation.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The state of the run when the request was recorded.

    Raises:
        NotFoundError: The org has no such run.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.CancelRunRequest(run_id=run_id_of(run), reason=reason, grace_ms=round(grace_s * 1000), force=force)
    return Call(_METHOD("CancelRun"), request, reader(RunStatus, "status"), timeout)


def watch(
    run: RunRef,
    *,
    after_sequence: int = 0,
    after_part: int = 0,
    tokens: bool = True,
    chain: bool = False,
    timeout: float | None = None,
    patience: float = 60.0,
) -> Stream[RunEvent | Token]:
    """Follows a run: the events in the log first, then new ones and tokens, until the run ends.

    A connection that drops is resumed where it broke. Each event comes once, in order.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        after_sequence: The `sequence` of the last event that was seen before; 0 for the first event.
        after_part: The `part` of that event. Without it, steps that were reported with that event may come again.
        tokens: True to get the tokens of models while they write.
        chain: True to go on with the run that continues this one, and so on. Each event has its `run_id`.
        timeout: Seconds for the whole watch; None for no end.
        patience: Seconds without any server before the watch gives up.

    Returns:
        An iterator over `RunEvent` and `Token`. Closing it ends the watch.

    Raises:
        NotFoundError: The org has no such run.
        DeadlineExceededError: The run had not ended when the time was over.
        UnavailableError: No server could be reached for too long.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.WatchRunRequest(
        run_id=run_id_of(run),
        after_sequence=after_sequence,
        include_tokens=tokens,
        compact=True,
        follow_chain=chain,
        parts=True,
        after_part=after_part,
    )

    def begin(now_s: float) -> WatchState:
        return WatchState(request, now_s=now_s, timeout_s=timeout, patience_s=patience)

    return Stream(_METHOD("WatchRun"), begin)


def wait(run: RunRef, *, chain: bool = False, timeout: float | None = None, patience: float = 60.0) -> Program[Run]:
    """Waits until a run has ended, in whatever way.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        chain: True to wait for the run that continues this one, too, and so on. The last of them is returned.
        timeout: Seconds to wait; None for no end.
        patience: Seconds without any server before the wait gives up.

    Returns:
        The run in its last state.

    Raises:
        NotFoundError: The org has no such run.
        DeadlineExceededError: The run had not ended when the time was over.
        UnavailableError: No server could be reached for too long.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    run_id, now = run_id_of(run), time.monotonic
    state = Patience(run_id, now_s=now(), timeout_s=timeout, patience_s=patience)
    left_s = timeout
    while True:
        ask_s = _ASK_S if left_s is None else min(_ASK_S, max(0.0, left_s))
        request = pb.WaitRunRequest(run_id=run_id, timeout_ms=max(1, int(ask_s * 1000)), follow_chain=chain)
        try:
            found: Run = yield Call(_METHOD("WaitRun"), request, reader(Run, "run"), ask_s + _ANSWER_S)
        except AgentFlowError as error:
            if error.code == "unimplemented":  # a gateway of an earlier version
                return (yield from _watch_to_end(run_id, chain, left_s))
            yield state.pause_s(error, now(), random.random())
        else:
            if found.status.is_final:
                return found
            run_id = found.run_id
            state.answered(now())
            yield _LAG_S
        left_s = state.remaining_s(now())


def chain(run: RunRef, *, limit: int = 1_000, timeout: float | None = None) -> Program[list[Run]]:
    """Returns the runs of a chain of `continue_as_new`, by any of them, the first one first.

    Args:
        run: The id of the run, or an object that has one (`Submission`, `Run`, `RunSummary`).
        limit: The most runs to return: the run that was named, those before it, then those after it.
        timeout: Seconds for each of the calls, retries included; None for the client's default.

    Returns:
        The runs. A run without another before or after it is a chain of one.

    Raises:
        NotFoundError: The org has no such run.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    named: Run = yield get_run(run, timeout=timeout)
    runs = [named]
    while runs[0].origin_kind == "continue" and len(runs) < limit:
        try:
            before: Run = yield get_run(runs[0].origin_run_id, timeout=timeout)
        except NotFoundError:  # it was deleted
            break
        runs.insert(0, before)
    while runs[-1].continued_as and len(runs) < limit:
        after: Run = yield get_run(runs[-1].continued_as, timeout=timeout)
        runs.append(after)
    return runs


def _watch_to_end(run_id: str, chain: bool, timeout: float | None) -> Program[Run]:
    end_s = None if timeout is None else time.monotonic() + timeout
    sequence = part = 0
    while True:
        left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
        last = yield watch(run_id, after_sequence=sequence, after_part=part, tokens=False, timeout=left_s)
        if isinstance(last, RunEvent):
            sequence, part = last.sequence, last.part
        found: Run = yield get_run(run_id)
        if found.status.is_final and chain and found.continued_as:
            run_id, sequence, part = found.continued_as, 0, 0
        elif found.status.is_final:
            return found
        else:
            yield _LAG_S


def run(
    workflow: DefinitionSource,
    inputs: Mapping[str, Any] | None = None,
    *,
    timeout: float | None = None,
    **options: Unpack[SubmitOptions],
) -> Program[Run]:
    """Starts a run, waits until it has ended, and returns it if it completed.

    Args:
        workflow: A registered workflow or a definition, as `submit` takes it.
        inputs: The inputs by name.
        timeout: Seconds to wait for the end of the run; None for no end.
        options: The options of `submit`: `budget_cents`, `tags`, `idempotency_key`, `priority`, `deadline_s`.

    Returns:
        The completed run.

    Raises:
        RunFailedError: The run ended in another way. Its `run` has the details.
        DeadlineExceededError: The run had not ended when the time was over. It goes on.
        AgentFlowError: Anything that `submit` raises.
    """
    submission: Submission = yield built(submit, workflow, inputs, **options)
    ended = yield from wait(submission, timeout=timeout)
    return ended.raise_for_status()
