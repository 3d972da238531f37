"""Bodies: the calls that a map or a loop repeats, or that compensate a step, as plain data.

>>> flow.map("each", body.llm("summarizer@1", content="{{item}}"), over="split.output.chunks")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agentflow_sdk.builder.checks import given, map_config, names, one_of
from agentflow_sdk.choices import AnswerFormat, FailOrContinue, MapResult
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


def map(  # noqa: A001
    body: Body,
    /,
    *,
    over: Any = None,
    zip: Mapping[str, Any] | None = None,  # noqa: A002
    range: Mapping[str, int | str] | None = None,  # noqa: A002
    batches: int | None = None,
    item: str | None = None,
    index: str | None = None,
    item_condition: str | None = None,
    result: MapResult | None = None,
    concurrency: int | None = None,
    on_item_failure: FailOrContinue | None = None,
    max_failures: float | None = None,
) -> Body:
    """Makes a body that is a map: each item of the map around it is a list of results then.

    Its templates may use the item of the map around it, so the two need different names. The arguments have the
    meaning that they have in `Workflow.map`.

    Args:
        body: The body, from `agentflow_sdk.body`.
        over: The list or object, for example `{{row.cells}}`. Give one of `over`, `zip` and `range`.
        zip: Lists of one length, by name.
        range: Whole numbers: `stop`, and `start` and `step` if they are not 0 and 1.
        batches: Each item is a list of up to this many items.
        item: Another name for `item`.
        index: Another name for `index`, the number of the item.
        item_condition: A CEL condition on the items and their numbers; other items are skipped.
        result: For an `over` that is an object: `object` makes an object of the results, `list` (default) a list.
        concurrency: The most items at a time, in each of these maps; None for no bound.
        on_item_failure: `fail` (default) or `continue`, when an item fails. A map that fails is a failed item of the
            map around it.
        max_failures: The most items that may fail under `continue`; a number below 1 is a fraction.

    Returns:
        The body.

    Raises:
        InvalidArgumentError: `on_item_failure` or `result` is not known.
    """
    items = {"over": over, "zip": zip, "range": range, "batches": batches, "item": item, "index": index}
    limits = {"concurrency": concurrency, "on_item_failure": on_item_failure, "max_failures": max_failures}
    config = map_config("body", body, **items, item_condition=item_condition, result=result, **limits)
    return {"type": "map", "config": config}
