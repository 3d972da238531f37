"""Bodies: the calls that a map or a loop repeats, or that compensate a step, as plain data.

>>> flow.map("each", body.llm("summarizer@1", content="{{item}}"), over="split.output.chunks")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentflow_sdk.builder.checks import given, names, one_of
from agentflow_sdk.choices import AnswerFormat
from agentflow_sdk.errors import InvalidArgumentError

Body = dict[str, Any]


def tool(tool_name: str, /, *, reveal: str | Iterable[str] = (), **args: Any) -> Body:
    """Makes a body that calls a tool.

    Args:
        tool_name: The name of the tool.
        reveal: The arguments that need the original values instead of redaction tokens.
        args: The arguments of the tool: references, templates or plain values.

    Returns:
        The body.
    """
    config: dict[str, Any] = {"tool_name": tool_name, "tool_args": args}
    if reveal:
        config["reveal"] = names(reveal)
    return {"type": "tool", "config": config}


def function(function_name: str, /, **args: Any) -> Body:
    """Makes a body that calls a function of a worker.

    Args:
        function_name: The name of the function.
        args: The arguments of the function: references, templates or plain values.

    Returns:
        The body.
    """
    return {"type": "function", "config": {"function_name": function_name, "function_args": args}}


def llm(
    prompt_ref: str | None = None,
    /,
    *,
    prompt: str | None = None,
    model: str | None = None,
    output: AnswerFormat | None = None,
    max_output_tokens: int | None = None,
    temperature: float | None = None,
    **inputs: Any,
) -> Body:
    """Makes a body that calls a model. Give a registered prompt, or the text of one.

    Args:
        prompt_ref: The registered prompt: `name`, `name@3` or `name@label`.
        prompt: The text of the prompt, a template.
        model: Exactly this model, as `provider/model`; None to let the platform choose.
        output: `text` (default) or `json`, the format of the answer.
        max_output_tokens: The most tokens of the answer; None for the prompt's own limit.
        temperature: The sampling temperature, from 0 to 2; None for the prompt's own.
        inputs: The variables of the prompt: references, templates or plain values.

    Returns:
        The body.

    Raises:
        InvalidArgumentError: The format is not known, or there are two prompts or none.
    """
    one_of(output, AnswerFormat, "body.output")
    if (prompt_ref is None) == (prompt is None):
        message = "a model is asked with either a registered prompt or a text"
        raise InvalidArgumentError.at("body.config", message, "give its reference, or `prompt`")
    asked = given(prompt_ref=prompt_ref, prompt=prompt, model=model)
    options = given(output=output, max_output_tokens=max_output_tokens, temperature=temperature)
    return {"type": "llm", "config": {**asked, "inputs": inputs, **options}}


def subworkflow(workflow: str, /, **inputs: Any) -> Body:
    """Makes a body that starts a registered workflow as a run of its own.

    Args:
        workflow: The workflow: `name`, `name@3` or `name@label`.
        inputs: The inputs of the run: references, templates or plain values.

    Returns:
        The body.
    """
    return {"type": "subworkflow", "config": {"workflow": workflow, "inputs": inputs}}
