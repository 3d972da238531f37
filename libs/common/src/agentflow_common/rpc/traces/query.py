"""Questions to the trace service about many runs: which of them match, page by page."""

from __future__ import annotations

from typing import Final

from agentflow_common.rpc.verbs import Message, Verb

EVERY_ORG: Final = "*"
SORTS: Final = ("newest", "cost", "latency", "tokens")  # the largest first
WORDS_MAX: Final = 10  # of a text that is searched for


class TraceQueryRequest(Message, frozen=True):
    """A question for runs. What is empty or 0 does not filter, and every given filter must match.

    A page holds the runs after (after_value, after_run) in the order of `sort`.
    """

    org: str  # EVERY_ORG: those of all orgs
    # bounds of the submission, ms since the epoch
    start_ms: int = 0
    end_ms: int = 0
    # a provider, a model, a pinned prompt (`name` or `name@version`) that the run used
    provider: str = ""
    model: str = ""
    prompt: str = ""
    workflow: str = ""
    version: int = 0
    status: str = ""
    node: str = ""  # the id of a node in the definition, the run has a step of it
    tags: dict[str, str] = {}
    error_type: str = ""  # of the run, or of one of its attempts
    # nano-USD
    min_cost_nano: int = 0
    max_cost_nano: int = 0
    # from the submission to the end, of finished runs
    min_duration_ms: int = 0
    max_duration_ms: int = 0
    text: str = ""  # words that all occur in one output or error of the run
    sort: str = SORTS[0]
    limit: int = 50
    after_value: int = 0
    after_run: str = ""


class TraceSummary(Message, frozen=True):
    """A run. Times are ms since the epoch."""

    run: str
    workflow: str
    status: str
    started_at: int
    duration_ms: int
    cost_nano: int
    steps: int
    org: str = ""
    version: int = 0
    tags: dict[str, str] = {}
    input_tokens: int = 0
    output_tokens: int = 0
    attempts: int = 0
    failed_attempts: int = 0
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    error: str = ""  # `type: message` of a failed run


class TraceQueryReply(Message, frozen=True):
    """One page of runs that match a query."""

    traces: tuple[TraceSummary, ...]
    # what to ask with for the next page; 0 and empty on the last one
    after_value: int = 0
    after_run: str = ""


TRACE_QUERY = Verb("trace", "query", TraceQueryRequest, TraceQueryReply, 20.0)
