"""What a map or a loop does each time, and what compensates a step: a call by name, as plain data.

>>> flow.map("each", body.llm("summarizer@1", content="{{item}}"), over="split.output.chunks")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentflow_sdk.builder.checks import names, one_of
from agentflow_sdk.choices import AnswerFormat

Body = dict[str, Any]


def tool(tool_name: str, /, *, reveal: str | Iterable[str] = (), **args: Any) -> Body:
    """reveal: arguments that need the original values instead of redaction tokens."""
    config: dict[str, Any] = {"tool_name": tool_name, "tool_args": args}
    if reveal:
        config["reveal"] = names(reveal)
    return {"type": "tool", "config": config}


def function(function_name: str, /, **args: Any) -> Body:
    return {"type": "function", "config": {"function_name": function_name, "function_args": args}}


def llm(
    prompt_ref: str,
    /,
    *,
    output: AnswerFormat | None = None,
    max_output_tokens: int | None = None,
    temperature: float | None = None,
    **inputs: Any,
) -> Body:
    """output: `text` (default) or `json`."""
    one_of(output, AnswerFormat, "body.output")
    options = {"output": output, "max_output_tokens": max_output_tokens, "temperature": temperature}
    given = {key: value for key, value in options.items() if value is not None}
    return {"type": "llm", "config": {"prompt_ref": prompt_ref, "inputs": inputs, **given}}


def subworkflow(workflow: str, /, **inputs: Any) -> Body:
    """A run of its own: `name`, `name@3` or `name@label`."""
    return {"type": "subworkflow", "config": {"workflow": workflow, "inputs": inputs}}
