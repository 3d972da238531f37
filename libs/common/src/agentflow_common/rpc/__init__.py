"""The questions that services ask each other over NATS request/reply, `af.rpc.<service>.<verb>`.

Each verb has one request and one reply type; a reply on the wire is `{"ok": <reply>}` or `{"error": <ErrorBody>}`.
Additive changes only.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from agentflow_common import subjects

Reply = TypeVar("Reply")


class Verb(msgspec.Struct, Generic[Reply], frozen=True):
    """One question: its subject, the request type, the reply type and a default timeout."""

    service: str
    name: str
    request: type[Any]
    reply: type[Reply]
    timeout_s: float = 10.0

    @property
    def subject(self) -> str:
        return subjects.rpc(self.service, self.name)


class _Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    pass


# --- security ---


class ProtectRequest(_Struct, frozen=True):
    """Replace what is sensitive in every string of `value` by reversible tokens of this run."""

    org: str
    run: str
    value: Any
    purpose: str = "output"  # `input`, `output`, `prompt`, `completion`, `error` or `reason`
    step: str = ""


class ProtectReply(_Struct, frozen=True):
    """The value with its findings replaced by vault tokens."""

    value: Any  # same shape as asked
    counts: dict[str, int] = {}  # findings by entity (`EMAIL_ADDRESS`), each occurrence counted


class RestoreRequest(_Struct, frozen=True):
    """Put the originals back; audited with actor and reason."""

    org: str
    run: str
    value: Any
    actor: str
    reason: str
    step: str = ""


class RestoreReply(_Struct, frozen=True):
    value: Any
    restored: int = 0


PROTECT = Verb("security", "protect", ProtectRequest, ProtectReply, 30.0)
RESTORE = Verb("security", "restore", RestoreRequest, RestoreReply, 30.0)


# --- prompt ---


class PromptVersion(_Struct, frozen=True):
    """An immutable prompt version."""

    name: str
    version: int
    template: str
    system: str = ""
    description: str = ""
    inputs_schema: dict[str, Any] = {}  # JSON Schema of the inputs object
    labels: tuple[str, ...] = ()
    task: str = ""
    max_output_tokens: int = 1024
    temperature: float = 0.0
    created_at: int = 0  # ms since the epoch
    created_by: str = ""
    sha256: str = ""


class CreatePromptRequest(_Struct, frozen=True):
    """A new version of `name` (version 1 if it is new)."""

    org: str
    name: str
    template: str
    system: str = ""
    description: str = ""
    inputs_schema: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    # hint for the `local` provider (`summarize`, `keywords`, `classify`, `translate`, `detect_language`,
    # `answer`)
    task: str = ""
    max_output_tokens: int = 1024
    temperature: float = 0.0
    created_by: str = ""


class GetPromptRequest(_Struct, frozen=True):
    """Asks for one version of a prompt."""

    org: str
    ref: str  # `name`, `name@3` or `name@label`; a bare name is the latest version


class ListPromptsRequest(_Struct, frozen=True):
    org: str
    name_prefix: str = ""
    limit: int = 100
    after: str = ""


class ListPromptsReply(_Struct, frozen=True):
    """The latest version of each prompt, by name."""

    prompts: tuple[PromptVersion, ...]


class ResolvePromptsRequest(_Struct, frozen=True):
    org: str
    refs: tuple[str, ...]


class ResolvePromptsReply(_Struct, frozen=True):
    """The versions that prompt references mean now."""

    pinned: dict[str, str]  # ref -> `name@version`
    missing: tuple[str, ...] = ()  # refs that name nothing


class RenderRequest(_Struct, frozen=True):
    """Asks for the text of a prompt with its variables filled in."""

    org: str
    run: str
    step: str
    ref: str  # pinned `name@version`
    inputs: dict[str, Any]


class RenderReply(_Struct, frozen=True):
    prompt: str
    system: str
    text: str
    task: str = ""
    max_output_tokens: int = 1024
    temperature: float = 0.0


PROMPT_CREATE = Verb("prompt", "create", CreatePromptRequest, PromptVersion)
PROMPT_GET = Verb("prompt", "get", GetPromptRequest, PromptVersion)
PROMPT_LIST = Verb("prompt", "list", ListPromptsRequest, ListPromptsReply)
PROMPT_RESOLVE = Verb("prompt", "resolve", ResolvePromptsRequest, ResolvePromptsReply)
PROMPT_RENDER = Verb("prompt", "render", RenderRequest, RenderReply)


# --- cost ---


class Candidate(_Struct, frozen=True):
    """A model that may answer, best first."""

    provider: str
    model: str
    input_nano_per_mtok: int  # input_nano_per_mtok, output_nano_per_mtok: nano-USD for 10^6 tokens
    output_nano_per_mtok: int
    est_cost_nano: int  # nano-USD for the prompt bytes and the whole output limit


class RouteRequest(_Struct, frozen=True):
    """Asks for the models of a call, and for a reservation of its cost.

    The reservation is keyed by (run, step, attempt): asking again gives the same one.
    """

    org: str
    run: str
    step: str
    attempt: int
    quality: str  # `Gold`, `Silver` or `Bronze`
    prompt_bytes: int  # bounds the input tokens
    max_output_tokens: int
    providers: tuple[str, ...]  # those that the worker can call
    model: str = ""  # `provider/model` pins one
    sla_ms: int | None = None
    run_budget_nano: int | None = None  # the run's own budget, None if it has none
    cache_key: str = ""
    workflow: str = ""
    calls: int = 1  # how many calls the answer may take; each after the first also reads the answers before it


class RouteReply(_Struct, frozen=True):
    """The models that may answer a call, and the money reserved for it."""

    reservation: str
    reserved_nano: int
    candidates: tuple[Candidate, ...]
    # the answer of an earlier identical call (only when the node asked for caching)
    cached: dict[str, Any] | None = None


class CachePutRequest(_Struct, frozen=True):
    org: str
    cache_key: str
    value: dict[str, Any]
    ttl_s: int = 3600


class Empty(_Struct, frozen=True):
    pass


COST_ROUTE = Verb("cost", "route", RouteRequest, RouteReply)
COST_CACHE_PUT = Verb("cost", "cache_put", CachePutRequest, Empty)


# --- trace ---


class TraceRequest(_Struct, frozen=True):
    """Asks for the trace of one run."""

    org: str
    run: str
    min_seq: int = 0  # wait (bounded) until ClickHouse holds AF_EVENTS up to here


class TraceEvent(_Struct, frozen=True):
    """One event of a run, as the log holds it."""

    stream: str
    seq: int  # sequence in the stream
    ts: int
    type: str
    step: str = ""
    attempt: int = 0
    body: str = ""  # the event as JSON text


class TraceStep(_Struct, frozen=True):
    """Times in ms since the epoch."""

    step: str
    attempt: int
    status: str
    scheduled_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    wait_ms: int = 0  # from scheduled to started
    duration_ms: float = 0.0
    cost_nano: int = 0
    provider: str = ""
    model: str = ""
    prompt: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_hit: bool = False
    worker: str = ""
    error: str = ""
    redactions: dict[str, int] = {}
    finish_reason: str = ""  # how a model's answer ended


class TraceReply(_Struct, frozen=True):
    """Steps and totals are whole;"""

    run: str
    workflow: str
    status: str
    trace_id: str
    started_at: int
    finished_at: int
    cost_nano: int
    input_tokens: int
    output_tokens: int
    redactions: dict[str, int]
    steps: tuple[TraceStep, ...]
    events: tuple[TraceEvent, ...]
    truncated: bool = False  # bodies or events were left out, the run is too big for one answer


class TraceQueryRequest(_Struct, frozen=True):
    """start_ms, end_ms bound the submission time; empty strings don't filter. Runs older than (after_ms, after_run)."""

    org: str
    start_ms: int = 0
    end_ms: int = 0
    provider: str = ""
    workflow: str = ""
    status: str = ""
    limit: int = 50
    after_ms: int = 0
    after_run: str = ""


class TraceSummary(_Struct, frozen=True):
    run: str
    workflow: str
    status: str
    started_at: int
    duration_ms: int
    cost_nano: int
    steps: int


class TraceQueryReply(_Struct, frozen=True):
    """One page of runs that match a query."""

    traces: tuple[TraceSummary, ...]
    after_ms: int = 0  # after_ms, after_run: what to ask with for the next page; 0 and empty on the last one
    after_run: str = ""


class TraceCountsReply(_Struct, frozen=True):
    """The rows that ClickHouse holds of a stream: their number, distinct sequences, first and last sequence."""

    rows: int
    distinct: int
    first_seq: int
    last_seq: int
    # those of the rows that stand for a sequence whose message the server had removed before it was read (a
    # schedule that fired, was replaced or purged). rows = distinct = last_seq - first_seq + 1, always.
    removed: int = 0


class TraceCountsRequest(_Struct, frozen=True):
    stream: str = subjects.EVENTS_STREAM


TRACE_GET = Verb("trace", "get", TraceRequest, TraceReply, 20.0)
TRACE_QUERY = Verb("trace", "query", TraceQueryRequest, TraceQueryReply, 20.0)
TRACE_COUNTS = Verb("trace", "counts", TraceCountsRequest, TraceCountsReply, 20.0)
