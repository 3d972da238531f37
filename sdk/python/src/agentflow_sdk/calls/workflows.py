"""Every call of the API as data: the request that is sent and how its answer is read.

The sync and the async client run these same functions; nothing here does I/O. Each function's signature and docstring
are those of the client's method. `timeout` is the call's deadline in seconds, retries included (default: the client's).
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, runtime_checkable

from agentflow.v1 import budget_pb2, prompt_pb2, trace_pb2, workflow_pb2
from agentflow_sdk.choices import Period, Status
from agentflow_sdk.convert import workflows as convert
from agentflow_sdk.errors import InvalidArgumentError, Problem
from agentflow_sdk.models import workflows as models

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Method:
    """A method on the wire. reply: the class of the answer (or of each message of a stream)."""

    path: str
    reply: Any


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """repeatable: sending it twice has the effect of sending it once, so a lost answer may be asked for again."""

    method: Method
    request: Any
    read: Callable[[Any], T]
    timeout_s: float | None = None
    repeatable: bool = True


@runtime_checkable
class HasDefinition(Protocol):
    """The builder, or anything else that can give a definition."""

    def to_dict(self) -> dict[str, Any]: ...


@runtime_checkable
class HasRunId(Protocol):
    @property
    def run_id(self) -> str: ...


def built(build: Callable[P, Call[T]], *args: P.args, **kwargs: P.kwargs) -> Call[T]:
    """The call of these arguments. Raises InvalidArgumentError for what no field of the request can hold."""
    given = inspect.signature(build).bind(*args, **kwargs)  # a TypeError here is about the call itself
    try:
        return build(*args, **kwargs)
    except (TypeError, ValueError, OverflowError) as error:
        raise convert.unfit(build.__name__, given.arguments, error) from error


DefinitionSource = str | Mapping[str, Any] | HasDefinition
RunRef = str | HasRunId


def run_id_of(run: RunRef) -> str:
    """Accepts an id, a Submission, a Run or a RunSummary."""
    run_id = run if isinstance(run, str) else run.run_id
    if not run_id:
        raise InvalidArgumentError("no run id", problems=(Problem("run_id", "is empty", "pass the id of a run"),))
    return run_id


def is_definition_text(text: str) -> bool:
    """A name has neither line breaks nor braces; a definition in YAML or JSON has one of them."""
    return "\n" in text or text.lstrip().startswith("{")


def _source(definition: DefinitionSource) -> dict[str, Any]:
    if isinstance(definition, str):
        return {"definition_text": definition}
    data = definition if isinstance(definition, Mapping) else definition.to_dict()
    return {"definition": convert.to_struct(data, "definition")}


def _workflows(name: str, reply: Any) -> Method:
    return Method(f"/agentflow.v1.WorkflowService/{name}", reply)


_REGISTER = _workflows("RegisterWorkflow", workflow_pb2.RegisterWorkflowResponse)
_VALIDATE = _workflows("ValidateWorkflow", workflow_pb2.ValidateWorkflowResponse)
_SUBMIT = _workflows("SubmitWorkflow", workflow_pb2.SubmitWorkflowResponse)
_GET_RUN = _workflows("GetRun", workflow_pb2.GetRunResponse)
_LIST_RUNS = _workflows("ListRuns", workflow_pb2.ListRunsResponse)
_CANCEL = _workflows("CancelRun", workflow_pb2.CancelRunResponse)
WATCH = _workflows("WatchRun", workflow_pb2.WatchRunResponse)
_CREATE_PROMPT = Method("/agentflow.v1.PromptService/CreatePrompt", prompt_pb2.CreatePromptResponse)
_GET_PROMPT = Method("/agentflow.v1.PromptService/GetPrompt", prompt_pb2.GetPromptResponse)
_LIST_PROMPTS = Method("/agentflow.v1.PromptService/ListPrompts", prompt_pb2.ListPromptsResponse)
_CREATE_BUDGET = Method("/agentflow.v1.BudgetService/CreateBudget", budget_pb2.CreateBudgetResponse)
_GET_BUDGET = Method("/agentflow.v1.BudgetService/GetBudget", budget_pb2.GetBudgetResponse)
_LIST_BUDGETS = Method("/agentflow.v1.BudgetService/ListBudgets", budget_pb2.ListBudgetsResponse)
_UPDATE_BUDGET = Method("/agentflow.v1.BudgetService/UpdateBudget", budget_pb2.UpdateBudgetResponse)
_DELETE_BUDGET = Method("/agentflow.v1.BudgetService/DeleteBudget", budget_pb2.DeleteBudgetResponse)
_GET_TRACE = Method("/agentflow.v1.TraceService/GetTrace", trace_pb2.GetTraceResponse)
_QUERY_TRACES = Method("/agentflow.v1.TraceService/QueryTraces", trace_pb2.QueryTracesResponse)


# --- workflows ---


def register(definition: DefinitionSource, *, timeout: float | None = None) -> Call[models.Registration]:
    """Stores an immutable definition: a builder, plain data, or YAML or JSON text.

    Raises InvalidArgumentError (with places), AlreadyExistsError if that name and version hold something else.
    """
    request = workflow_pb2.RegisterWorkflowRequest(**_source(definition))
    return Call(_REGISTER, request, convert.registration, timeout)


def validate(definition: DefinitionSource, *, timeout: float | None = None) -> Call[models.Validation]:
    """Checks a definition and stores nothing. Problems are returned, not raised."""
    request = workflow_pb2.ValidateWorkflowRequest(**_source(definition))
    return Call(_VALIDATE, request, convert.validation, timeout)


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
    timeout: float | None = None,
) -> Call[models.Submission]:
    """Starts a run and returns at once.

    workflow: `name` (its latest version), `name@2`, `name@label`, or an unregistered definition as builder, plain data
    or text.
    budget_cents: at most this much for the run's model calls. deadline_s: for the whole run, from submission.
    idempotency_key: the same key is the same run; without one, a random key makes the retries of this call safe.
    unregistered: accepts a definition whose name and version are registered with other content; the run is marked.
    Raises AlreadyExistsError for one without it.
    """
    if isinstance(workflow, str) and not is_definition_text(workflow):
        source: dict[str, Any] = {"workflow": workflow}
    else:
        source = _source(workflow)
    request = convert.message(
        workflow_pb2.SubmitWorkflowRequest,
        **source,
        inputs=convert.to_struct({} if inputs is None else inputs, "inputs"),
        tags=tags or {},
        idempotency_key=idempotency_key or f"auto-{uuid.uuid4()}",
        priority=priority,
        budget_cents=budget_cents,
        deadline_ms=None if deadline_s is None else round(deadline_s * 1000),
        unregistered=unregistered,
    )
    return Call(_SUBMIT, request, lambda reply: models.Submission(reply.run_id, reply.deduplicated), timeout)


def get_run(run: RunRef, *, reveal: bool = False, reason: str = "", timeout: float | None = None) -> Call[models.Run]:
    """A run as it stands. reveal: put the originals back in inputs and outputs; needs the permission, is audited."""
    request = workflow_pb2.GetRunRequest(run_id=run_id_of(run), reveal=reveal, reveal_reason=reason)
    return Call(_GET_RUN, request, lambda reply: convert.run(reply.run), timeout)


def list_runs(
    *,
    status: Status | None = None,
    workflow: str = "",
    tags: Mapping[str, str] | None = None,
    limit: int = 50,
    page_token: str = "",
    run_id_prefix: str = "",
    timeout: float | None = None,
) -> Call[models.RunPage]:
    """A page of runs, newest first. tags: runs that carry all of them. limit: 1 to 1000.

    run_id_prefix: runs whose id begins with this.
    """
    request = convert.message(
        workflow_pb2.ListRunsRequest,
        status=convert.run_status_number(status),
        workflow=workflow,
        tags=tags or {},
        page_size=limit,
        page_token=page_token,
        run_id_prefix=run_id_prefix,
    )
    return Call(_LIST_RUNS, request, convert.run_page, timeout)


def cancel(
    run: RunRef, reason: str = "", *, grace_s: float = 0.0, force: bool = False, timeout: float | None = None
) -> Call[models.RunStatus]:
    """Asks for the run to stop; returns its status when that was recorded. A finished run stays as it is.

    grace_s: how long active steps may take to end by themselves. force: at once and without compensation.
    """
    request = workflow_pb2.CancelRunRequest(
        run_id=run_id_of(run), reason=reason, grace_ms=round(grace_s * 1000), force=force
    )
    return Call(_CANCEL, request, lambda reply: convert.run_status(reply.status), timeout)


# --- prompts ---


def create_prompt(
    name: str,
    template: str,
    *,
    system: str = "",
    description: str = "",
    inputs_schema: Mapping[str, Any] | None = None,
    labels: Iterable[str] = (),
    task: str = "",
    max_output_tokens: int = 0,
    temperature: float = 0.0,
    timeout: float | None = None,
) -> Call[models.Prompt]:
    """Creates the next immutable version of a prompt.

    task: hint for the offline provider (summarize, keywords, classify, translate, detect_language, answer).
    max_output_tokens: 0 means 1024.
    """
    request = prompt_pb2.CreatePromptRequest(
        name=name,
        template=template,
        system=system,
        description=description,
        inputs_schema=convert.to_struct({} if inputs_schema is None else inputs_schema, "inputs_schema"),
        labels=list(labels),
        task=task,
        max_output_tokens=max_output_tokens,
        temperature=temperature,
    )
    return Call(_CREATE_PROMPT, request, lambda reply: convert.prompt(reply.prompt), timeout, repeatable=False)


def get_prompt(name: str, version: int | str = "", *, timeout: float | None = None) -> Call[models.Prompt]:
    """version: a number, a label, or empty for the latest. `get("name@3")` works too."""
    if not version and "@" in name:
        name, _, version = name.partition("@")
    request = prompt_pb2.GetPromptRequest(name=name, version=str(version))
    return Call(_GET_PROMPT, request, lambda reply: convert.prompt(reply.prompt), timeout)


def list_prompts(
    prefix: str = "", *, limit: int = 100, page_token: str = "", timeout: float | None = None
) -> Call[models.Page[models.Prompt]]:
    """A page of the latest version of each prompt whose name starts with the prefix, by name. limit: 1 to 1000."""
    request = prompt_pb2.ListPromptsRequest(name_prefix=prefix, page_size=limit, page_token=page_token)
    return Call(
        _LIST_PROMPTS, request,
        lambda reply: models.Page(map(convert.prompt, reply.prompts), reply.next_page_token), timeout,
    )  # fmt: skip


# --- budgets ---


def create_budget(
    limit_usd: Decimal | str | int,
    period: Period = "monthly",
    *,
    name: str = "",
    scope: str = "org",
    allow_unknown_workflow: bool = False,
    timeout: float | None = None,
) -> Call[models.Budget]:
    """limit_usd: exact US dollars. period: daily, weekly, monthly or total. scope: `org` or `workflow:<name>`.

    allow_unknown_workflow: the workflow of the scope may be registered later; without it an unknown name is refused.
    """
    request = convert.message(
        budget_pb2.CreateBudgetRequest,
        name=name,
        period=convert.budget_period_number(period),
        limit_nano_usd=_limit(limit_usd),
        scope=scope,
        allow_unknown_workflow=allow_unknown_workflow,
    )
    return Call(_CREATE_BUDGET, request, lambda reply: convert.budget(reply.budget), timeout, repeatable=False)


def get_budget(budget: str, *, timeout: float | None = None) -> Call[models.Budget]:
    """By id or by name."""
    request = budget_pb2.GetBudgetRequest(id=budget)
    return Call(_GET_BUDGET, request, lambda reply: convert.budget(reply.budget), timeout)


def list_budgets(
    *, limit: int = 1000, page_token: str = "", timeout: float | None = None
) -> Call[models.Page[models.Budget]]:
    """A page of budgets, by name. limit: 1 to 1000."""
    request = budget_pb2.ListBudgetsRequest(page_size=limit, page_token=page_token)
    return Call(
        _LIST_BUDGETS, request,
        lambda reply: models.Page(map(convert.budget, reply.budgets), reply.next_page_token), timeout,
    )  # fmt: skip


def update_budget(budget: str, *, limit_usd: Decimal | str | int, timeout: float | None = None) -> Call[models.Budget]:
    """Changes the limit of a budget, by id or by name. What was spent in the current period stays counted."""
    request = budget_pb2.UpdateBudgetRequest(id=budget, limit_nano_usd=_limit(limit_usd))
    return Call(_UPDATE_BUDGET, request, lambda reply: convert.budget(reply.budget), timeout)


def delete_budget(budget: str, *, timeout: float | None = None) -> Call[models.Budget]:
    """Removes a budget, by id or by name, and returns it as it was last. Calls under way settle as usual."""
    request = budget_pb2.DeleteBudgetRequest(id=budget)
    return Call(_DELETE_BUDGET, request, lambda reply: convert.budget(reply.budget), timeout, repeatable=False)


def _limit(limit_usd: Decimal | str | int) -> int:
    """Nano-USD. Raises InvalidArgumentError for what is not an amount above zero."""
    try:
        nano = models.to_nano(limit_usd)
        if nano <= 0:
            raise ValueError(f"{limit_usd} is not above 0")
    except ValueError as error:
        wrong, _, fix = str(error).partition("; ")
        problem = Problem("limit", wrong, fix or "write US dollars, for example 1000 or 12.50")
        raise InvalidArgumentError("the limit is not an amount of money", problems=(problem,)) from None
    return nano


# --- traces ---


def get_trace(run: RunRef, *, bodies: bool = False, timeout: float | None = None) -> Call[models.Trace]:
    """Everything that happened to a run. bodies: also each event's body."""
    request = trace_pb2.GetTraceRequest(run_id=run_id_of(run), include_bodies=bodies)
    return Call(_GET_TRACE, request, convert.trace, timeout)


def query_traces(
    *,
    start_ms: int = 0,
    end_ms: int = 0,
    provider: str = "",
    workflow: str = "",
    status: Status | None = None,
    limit: int = 50,
    page_token: str = "",
    timeout: float | None = None,
) -> Call[models.Page[models.TraceSummary]]:
    """A page of the runs submitted between two times (ms since the epoch, 0 for open), newest first.

    limit: 1 to 1000.
    """
    request = trace_pb2.QueryTracesRequest(
        start_ms=start_ms,
        end_ms=end_ms,
        provider=provider,
        workflow=workflow,
        status=convert.run_status_number(status),  # type: ignore[arg-type]
        page_size=limit,
        page_token=page_token,
    )
    return Call(_QUERY_TRACES, request, convert.trace_summaries, timeout)
