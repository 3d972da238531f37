"""What a model's answer is worth: its tokens, its cost, the JSON in it. Pure."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from agentflow_common import rpc, screening
from agentflow_common.errors import UNREADABLE
from agentflow_worker.providers.port import Completion, CompletionRequest, estimate_tokens


def cost_nano(candidate: rpc.Candidate, input_tokens: int, output_tokens: int) -> int:
    """Nano-USD of a call, rounded up."""
    total = input_tokens * candidate.input_nano_per_mtok + output_tokens * candidate.output_nano_per_mtok
    return -(-total // 1_000_000)


def counted(completion: Completion, request: CompletionRequest) -> Completion:
    """With estimates where the provider reported no tokens: what is not counted would be free."""
    if completion.input_tokens and completion.output_tokens:
        return completion
    return Completion(
        completion.text,
        completion.input_tokens or estimate_tokens(request.system + request.text),
        completion.output_tokens or estimate_tokens(completion.text),
        completion.finish_reason,
        completion.data,
    )


def parse_json(text: str) -> Any:
    """The JSON object or list that a model's text holds, also inside a fence; None for anything else."""
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
    """The tokens of a call that did not end: a provider bills what it had streamed before, reported or not."""
    if not streamed_chars or used[1]:
        return used
    return used[0] or estimate_tokens(request.system + request.text), math.ceil(streamed_chars / 3)


def covered(value: Any, safe_text: str) -> bool:
    """Whether everything in a JSON value that could be sensitive stands, as it is, in a text that was screened."""
    if isinstance(value, str):
        return value in safe_text or not screening.needs_screening(value)
    if isinstance(value, list):
        return all(covered(item, safe_text) for item in value)
    if isinstance(value, dict):
        # a telling key (`password`) makes its value suspicious, which the value alone does not show
        return not any(screening.telling(key) or screening.suspicious_key(key) for key in value) and all(
            covered(item, safe_text) for item in value.values()
        )
    return not screening.needs_screening(value)
