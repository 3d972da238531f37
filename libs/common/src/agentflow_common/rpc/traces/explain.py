"""The question why a run ended as it did, why it took so long, and why it cost so much; asked of the trace service."""

from __future__ import annotations

from agentflow_common.rpc.verbs import Message, Verb
from agentflow_common.runs.waiting import Waiting


class ExplainRequest(Message, frozen=True):
    """Asks for the causes of one run's end, or of its not ending."""

    org: str
    run: str
    min_seq: int = 0  # wait (bounded) until ClickHouse holds AF_EVENTS up to here
    slow: bool = False  # also where the time went
    cost: bool = False  # also where the money went
    now_ms: int = 0  # the time of the question; until then an unfinished run is explained
    waiting: tuple[Waiting, ...] = ()  # of an unfinished run, what each open step waits for


class Evidence(Message, frozen=True):
    """One message of the log that shows something."""

    stream: str
    seq: int
    ts: int  # ms since the epoch
    type: str
    run: str = ""
    step: str = ""
    attempt: int = 0
    text: str = ""


class CauseLink(Message, frozen=True):
    """One link of a chain of causes. The link after it is its cause."""

    kind: str
    text: str
    run: str = ""
    step: str = ""
    attempt: int = 0
    evidence: tuple[Evidence, ...] = ()


class Cause(Message, frozen=True):
    """A root cause. Its chain begins with what people see and ends with the cause itself."""

    kind: str
    text: str
    run: str
    step: str = ""
    attempt: int = 0
    confidence: float = 1.0  # the product of the confidences of the links of the chain
    fix: str = ""  # what to do
    chain: tuple[CauseLink, ...] = ()


class Usual(Message, frozen=True):
    """How a measure stands against earlier runs of the workflow. The unit is that of the measure."""

    samples: int = 0  # earlier runs that are compared; too few: the other fields are 0
    median: float = 0.0
    p95: float = 0.0
    deviation: float = 0.0  # from the median, in robust standard deviations (1.4826 MAD)
    unusual: bool = False


class TimeShare(Message, frozen=True):
    """A part of the critical path. Parts of a step of one kind are added up."""

    kind: str
    step: str
    ms: int
    share: float  # of the whole time
    text: str = ""
    usual: Usual = Usual()


class TimeReport(Message, frozen=True):
    """Where the time of a run went. The parts add up to the whole exactly."""

    duration_ms: int
    text: str = ""
    usual: Usual = Usual()
    parts: tuple[TimeShare, ...] = ()  # the longest first


class CostShare(Message, frozen=True):
    """The money that one step spent. Its attempts are added up, and so are the items of a map."""

    step: str
    cost_nano: int
    share: float  # of the whole cost
    models: tuple[str, ...] = ()  # `provider/model`
    calls: int = 0
    attempts: int = 0
    wasted_nano: int = 0  # of attempts that failed, and of calls that failed before another model answered
    fallbacks: int = 0  # calls after a failed one in the same attempt
    cache_hits: int = 0
    cache_misses: int = 0  # model steps that may use the cache and asked a model
    text: str = ""
    usual: Usual = Usual()


class ModelCost(Message, frozen=True):
    """The money that one model took."""

    model: str  # `provider/model`
    cost_nano: int
    share: float
    calls: int = 0
    failed: int = 0


class CostReport(Message, frozen=True):
    """Where the money of a run went. The steps add up to the whole exactly, and so do the models."""

    cost_nano: int
    text: str = ""
    usual: Usual = Usual()
    steps: tuple[CostShare, ...] = ()  # the dearest first
    models: tuple[ModelCost, ...] = ()


class ExplainReply(Message, frozen=True):
    """The causes, the most likely first. The first link of each chain is the same."""

    run: str
    workflow: str
    status: str
    version: int = 0
    summary: str = ""  # what happened, in one sentence
    causes: tuple[Cause, ...] = ()
    slow: TimeReport | None = None
    cost: CostReport | None = None


TRACE_EXPLAIN = Verb("trace", "explain", ExplainRequest, ExplainReply, 20.0)
