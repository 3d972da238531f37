"""Checks of policies: the error types that retries name (misspelt ones, ones in both lists), `on_timeout`, models."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator
from typing import Final

from agentflow_common import errors
from agentflow_common.definition.checks.names import suggest
from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.policy import Retry
from agentflow_common.definition.nodes.types import AnyNode, ApprovalNode, SignalNode
from agentflow_common.places import Finding, Place

_FIX: Final = {
    "signal": "add `config.timeout_ms`, with `on_timeout: fail` there",
    "approval": "add `config.expires_ms`, with `on_expire: fail` there",
}
ENGINE_TYPES: Final = frozenset(
    {"undecidable", "timeout", "heartbeat_timeout", "outcome_unknown", "worker_lost", "cancelled", "deadline",
     "signal_timeout", "rejected", "approval_expired", "max_iterations", "max_supersteps", "invalid_state",
     "item_failed", "iteration_failed", "child_failed", "child_cancelled", "child_lost", "lane_full", "idle_chain",
     "engine_error", "unknown", "ended", "skipped", "newest_cancelled", "finally_timeout", "superseded"}
)  # fmt: skip
MODEL_TYPES: Final = frozenset(
    {"rate_limited", "overloaded", "server_error", "timeout", "connection", "stream_broken", "malformed_answer",
     "empty_answer", "truncated", "context_length", "content_filter", "auth", "quota", "not_found", "bad_request",
     "budget_exceeded_error", "unknown_price_error", "no_candidate", "provider_unavailable", "missing_prompt",
     "prompt_inputs", "prompt_render", "run_ended"}
)  # fmt: skip
HTTP_TYPES: Final = frozenset(
    {"http_status", "http_4xx", "http_5xx", "http_timeout", "http_unreachable", "http_unresolved", "http_too_large",
     "http_bad_json"}
)  # fmt: skip
_STATUS: Final = re.compile(r"http_[45]\d\d")
_KINDS: Final = sorted(ENGINE_TYPES | MODEL_TYPES | HTTP_TYPES)
_CLASSES: Final = sorted(
    {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    | {kind.__name__ for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
)
_SHORTEST: Final = 5  # characters of a name that is compared; an author's own short name is often near another
_SHORTEST_CLASS: Final = 9


def retry_findings(definition: Definition) -> Iterator[Finding]:
    """Yields the error types in retry policies that can't be meant. An author's own types are not known, and pass."""
    for number, node in enumerate(definition.dag.nodes):
        here: Place = ("dag", "nodes", number)
        yield from _of_policy((*here, "policy", "retry"), node.policy.retry)
        if node.compensate_with is not None:
            yield from _of_policy((*here, "compensate_with", "retry"), node.compensate_with.retry)


def model_findings(definition: Definition) -> Iterator[Finding]:
    """Yields the nodes whose call and whose policy name a model."""
    for number, work in definition.works():
        if work.type == "llm" and work.config.model and definition.dag.nodes[number].policy.model:
            place: Place = ("dag", "nodes", number, *work.path, "model")
            yield place, "`policy.model` names a model, too", "keep one of them"


def _of_policy(here: Place, retry: Retry) -> Iterator[Finding]:
    for field, names in (("retryable", retry.retryable), ("non_retryable", retry.non_retryable)):
        for position, name in enumerate(names):
            place: Place = (*here, field, position)
            if field == "non_retryable" and name in retry.retryable:
                yield place, f"{name!r} is in both lists of the retry policy", "remove it from one"
            elif name.startswith(("http_", "http.")) and name not in HTTP_TYPES and not _STATUS.fullmatch(name):
                fix = "write http_503 for one status, http_5xx for all of a class, http_status for any"
                yield place, f"no error of http.get has the type {name!r}", meant(name) or fix
            elif fix := meant(name):
                yield place, f"no error has the type {name!r}", fix


def meant(name: str) -> str:
    """Returns `did you mean ...?` for a name that is one slip of the pen away from a known type; else an empty text."""
    known, shortest = (_KINDS, _SHORTEST) if name.islower() else (_CLASSES, _SHORTEST_CLASS)
    if name in known or len(name) < shortest:
        return ""
    return next((f"did you mean {other!r}?" for other in known if _one_slip(name, other)), "")


def _one_slip(a: str, b: str) -> bool:
    """True if one letter is missing, added, wrong, or swapped with its neighbour."""
    if abs(len(a) - len(b)) > 1:
        return False
    at = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rest_a, rest_b = a[at:], b[at:]
    swapped = rest_a[:2] == rest_b[1::-1] and rest_a[2:] == rest_b[2:]
    return rest_a[1:] == rest_b[1:] or rest_a[1:] == rest_b or rest_a == rest_b[1:] or swapped


def timeout_findings(definition: Definition) -> Iterator[Finding]:
    """Yields the problems of the nodes that name another one for the case that they take too long."""
    nodes = {node.id: node for node in definition.dag.nodes}
    edges = {(edge.source, edge.target) for edge in definition.dag.edges}
    edges |= {(name, node.id) for node in definition.dag.nodes for name in node.depends_on}
    for number, node in enumerate(definition.dag.nodes):
        target = node.policy.on_timeout
        if target is None:
            continue
        here: Place = ("dag", "nodes", number, "policy", "on_timeout")
        if definition.graph is not None:
            fix = f"set `on_failure: continue`, and give an edge the condition {node.id}.error.type == 'timeout'"
            yield here, "a graph has no `on_timeout`", fix
        elif target not in nodes:
            yield here, f"there is no node {target!r}", suggest(target, nodes)
        elif nodes[target].at_end is not node.at_end:
            text = f"{target!r} {'does not run' if node.at_end else 'runs'} when the run ends, and {node.id!r} "
            yield here, text + ("does" if node.at_end else "does not"), "name a node that has the same `finally`"
        elif target == node.id:
            yield here, f"{target!r} is the node itself", "name another node; `retry` tries the step again"
        elif (node.id, target) in edges:
            yield here, f"an edge leads from {node.id!r} to {target!r} in any case", "remove one of them"
        elif "-" in node.id:
            text = f"{node.id!r} can't stand in a condition, where `-` means minus, and this makes one"
            yield here, text, f"name the node {node.id.replace('-', '_')}"
        elif not _is_limited(node):
            yield here, f"nothing limits the time of {node.id!r}", _FIX.get(node.type, "add `timeout_ms`")


def _is_limited(node: AnyNode) -> bool:
    if isinstance(node, SignalNode):
        return node.config.timeout_ms is not None and node.config.on_timeout == "fail"
    if isinstance(node, ApprovalNode):
        return node.config.expires_ms is not None and node.config.on_expire == "fail"
    policy = node.policy
    return any(limit is not None for limit in (policy.timeout_ms, policy.total_timeout_ms, policy.heartbeat_ms))
