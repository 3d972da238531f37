"""A model's answer: its tokens, its cost, the JSON in it, and whether a step may use it. Pure."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

import msgspec

from agentflow_common import rpc, screening
from agentflow_common.errors import UNREADABLE
from agentflow_worker.providers.port import (
    EMPTY,
    LENGTH,
    TRUNCATED,
    Completion,
    CompletionRequest,
    ProviderError,
    estimate_tokens,
)

ACCEPT: Final = "accept"
GO_ON: Final = "continue"


def cost_nano(candidate: rpc.Candidate, input_tokens: int, output_tokens: int) -> int:
    """Returns the nano-USD of a call, rounded up."""
    total = input_tokens * candidate.input_nano_per_mtok + output_tokens * candidate.output_nano_per_mtok
    return -(-total // 1_000_000)


def counted(completion: Completion, request: CompletionRequest) -> Completion:
    """Returns the completion with estimates for tokens that the provider did not report: they would
    be free.
    """
    if completion.input_tokens and completion.output_tokens:
        return completion
    return dataclasses.replace(
        completion,
        input_tokens=completion.input_tokens or estimate_tokens(request.system + request.text + request.so_far),
        output_tokens=completion.output_tokens or estimate_tokens(completion.text),
    )


def parse_json(text: str) -> Any:
    """Returns the JSON object or list in a model's text, also inside a fence; None for anything else."""
    body = text.strip()
    if body.startswith("```"):
        body = body.partition("\n")[2].rpartition("```")[0].strip()
    if not body.startswith(("{", "[")):
        return None
    try:
        return msgspec.json.decode(body)
    except UNREADABLE:
        return None


def billed(used: tuple[int, int], streamed_chars: int, request: CompletionRequest) -> tuple[int, int]:
    """Returns the tokens of a call that did not end.

    A provider bills what it had streamed, reported or not.
    """
    if not streamed_chars or used[1]:
        return used
    return used[0] or estimate_tokens(request.system + request.text + request.so_far), math.ceil(streamed_chars / 3)


def is_empty(completion: Completion) -> bool:
    """True if the answer is empty. Thoughts alone are not an answer."""
    return not (completion.text.strip() or completion.data or completion.tool_calls)


def objection(
    completion: Completion, *, provider: str, limit: int, on_truncated: str, wants_json: bool
) -> ProviderError | None:
    """Returns why the step may not pass on an answer that came whole; None if it may.

    completion: what all calls for this answer said together.
    limit: how many output tokens a call may take.
    on_truncated: the policy; what is cut off is never JSON, so `accept` does not help there.
    """
    kind, retryable = "", True
    unread = wants_json and not completion.data and parse_json(completion.text) is None
    if completion.finish_reason == LENGTH and (on_truncated != ACCEPT or unread):
        kind, retryable = TRUNCATED, False
        thinking = " while the model was still thinking" if is_empty(completion) and completion.thought else ""
        text = f"the answer was cut off at {limit:,} output tokens{thinking}"
    elif is_empty(completion) and (on_truncated != ACCEPT or unread):
        kind = EMPTY
        text = "the model thought and gave no answer" if completion.thought else "the answer is empty"
    elif unread:
        kind, text = "invalid_json", "the answer is not JSON"
    if not kind:
        return None
    return ProviderError(
        kind,
        f"{provider}: {text}",
        retryable=retryable,
        finish_reason=completion.finish_reason,
        input_tokens=completion.input_tokens,
        output_tokens=completion.output_tokens,
    )


def covered(value: Any, safe_text: str) -> bool:
    """True if everything in a JSON value that could be sensitive stands, unchanged, in a text that
    was screened.
    """
    if isinstance(value, str):
        return value in safe_text or not screening.needs_screening(value)
    if isinstance(value, list):
        return all(covered(item, safe_text) for item in value)
    if isinstance(value, dict):
        if any(screening.name_of(value, key, "") != key for key in value):  # the text does not join them
            return not screening.needs_screening(value)
        # a telling key (`password`) makes its value suspicious, which the value alone does not show
        return not any(screening.telling(key) or screening.suspicious_key(key) for key in value) and all(
            covered(item, safe_text) for item in value.values()
        )
    return not screening.needs_screening(value)
