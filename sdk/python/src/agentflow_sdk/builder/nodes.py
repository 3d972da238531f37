"""The methods that add a node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from agentflow_sdk.builder import body as bodies
from agentflow_sdk.builder.body import Body
from agentflow_sdk.builder.checks import given, map_config, milliseconds, names, one_of
from agentflow_sdk.choices import AnswerFormat, EndStatus, FailOrContinue, MapResult, OnExpire, OnMax
from agentflow_sdk.errors import InvalidArgumentError


class Nodes:
    """The methods that add a node. The modifiers after one of them apply to that node.

    A value may be a reference (`ingest.output.text`), a template (`{{name}}`) or plain.
    """

    def __init__(self) -> None:
        self._nodes: list[dict[str, Any]] = []

    def tool(self, id: str, tool_name: str, /, *, reveal: str | Iterable[str] = (), **args: Any) -> Self:  # noqa: A002
        """Adds a node that calls a tool.

        Args:
            id: The id of the node.
            tool_name: The name of the tool.
            reveal: The arguments that need the original values instead of redaction tokens.
            args: The arguments of the tool.

        Returns:
            The builder.
        """
        return self._add(id, bodies.tool(tool_name, reveal=reveal, **args))

    def llm(
        self,
        id: str,  # noqa: A002
        prompt_ref: str | None = None,
        /,
        *,
        prompt: str | None = None,
        model: str | None = None,
        output: AnswerFormat | None = None,
        max_output_tokens: int | None = None,
        temperature: float | None = None,
    ) -> Self:
        """Adds a node that calls a model with a registered prompt, or with a text.

        `inputs` gives the variables of its prompt.

        Args:
            id: The id of the node.
            prompt_ref: The registered prompt: `name`, `name@3` or `name@label`.
            prompt: The text of the prompt, a template that may read the run's inputs and other steps, too.
            model: Exactly this model, as `provider/model`; None to let the platform choose.
            output: `text` (default) or `json`, the format of the answer.
            max_output_tokens: The most tokens of the answer; None for the prompt's own limit.
            temperature: The sampling temperature, from 0 to 2; None for the prompt's own.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The format is not known, or there are two prompts or none.
        """
        one_of(output, AnswerFormat, f"{id}.config.output")
        if (prompt_ref is None) == (prompt is None):
            message = "a model is asked with either a registered prompt or a text"
            raise InvalidArgumentError.at(f"{id}.config", message, "give its reference, or `prompt`")
        asked = given(prompt_ref=prompt_ref, prompt=prompt, model=model)
        options = given(output=output, max_output_tokens=max_output_tokens, temperature=temperature)
        return self._node(id, "llm", {**asked, **options})

    def function(self, id: str, function_name: str, /, **args: Any) -> Self:  # noqa: A002
        """Adds a node that calls a function of a worker.

        Args:
            id: The id of the node.
            function_name: The name of the function.
            args: The arguments of the function.

        Returns:
            The builder.
        """
        return self._add(id, bodies.function(function_name, **args))

    def subworkflow(self, id: str, workflow: str, /, **inputs: Any) -> Self:  # noqa: A002
        """Adds a node that starts a registered workflow as a run of its own and waits for it.

        Args:
            id: The id of the node.
            workflow: The workflow: `name`, `name@3` or `name@label`.
            inputs: The inputs of the run.

        Returns:
            The builder.
        """
        return self._add(id, bodies.subworkflow(workflow, **inputs))

    def map(
        self,
        id: str,  # noqa: A002
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
    ) -> Self:
        """Adds a node that executes a body once for each item. The body can use `{{item}}` and `{{index}}`.

        Args:
            id: The id of the node.
            body: The body, from `agentflow_sdk.body`. It may be a map itself (`body.map`).
            over: The list or object: a reference, a template or a plain one. Give one of `over`, `zip` and `range`.
            zip: Lists of one length, by name; each item is an object with an item of every list.
            range: Whole numbers: `stop`, and `start` and `step` if they are not 0 and 1.
            batches: Each item is a list of up to this many items.
            item: Another name for `item`.
            index: Another name for `index`, the number of the item.
            item_condition: A CEL condition on the item and `index`; other items are skipped, and their result is null.
            result: For an `over` that is an object: `object` makes an object of the results, `list` (default) a list.
            concurrency: The most items at a time; None for no bound.
            on_item_failure: `fail` (default) or `continue`, when an item fails.
            max_failures: The most items that may fail under `continue`; a number below 1 is a fraction.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: `on_item_failure` or `result` is not known.
        """
        items = {"over": over, "zip": zip, "range": range, "batches": batches, "item": item, "index": index}
        limits = {"concurrency": concurrency, "on_item_failure": on_item_failure, "max_failures": max_failures}
        config = map_config(f"{id}.config", body, **items, item_condition=item_condition, result=result, **limits)
        return self._node(id, "map", config)

    def loop(
        self,
        id: str,  # noqa: A002
        body: Body,
        /,
        *,
        max_iterations: int,
        until: str | None = None,
        while_: str | None = None,
        on_max: OnMax | None = None,
        delay_seconds: float | None = None,
    ) -> Self:
        """Adds a node that repeats a body. Give either `until` or `while_`.

        Args:
            id: The id of the node.
            body: The body, from `agentflow_sdk.body`.
            max_iterations: The most iterations.
            until: A CEL condition on `iteration` and `previous` that ends the loop.
            while_: A CEL condition on `iteration` and `previous` that continues the loop.
            on_max: `complete` (default) or `fail`, when the iterations were not enough.
            delay_seconds: Seconds between two iterations; None for no delay.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: Neither or both conditions are given, or another argument is not valid.
        """
        if (until is None) == (while_ is None):
            message = "a loop needs either `until` or `while_`"
            raise InvalidArgumentError.at(f"{id}.config", message, "give one of them")
        one_of(on_max, OnMax, f"{id}.config.on_max")
        options = given(until=until, **{"while": while_}, on_max=on_max, delay_ms=_duration(delay_seconds, id))
        return self._node(id, "loop", {"body": body, "max_iterations": max_iterations, **options})

    def wait(
        self,
        id: str,  # noqa: A002
        /,
        *,
        seconds: float | None = None,
        duration: str | None = None,
        until: str | int | None = None,
    ) -> Self:
        """Adds a node that waits for a time. Give one of `seconds`, `duration` and `until`.

        Args:
            id: The id of the node.
            seconds: The duration in seconds.
            duration: The duration as a text such as `1h30m`, a reference or a template.
            until: The end: a time in RFC 3339, ms since the epoch, or a template of either.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: None or several of these are given, or the duration is not above 0.
        """
        if sum(option is not None for option in (seconds, duration, until)) != 1:
            message = "a wait needs `seconds`, `duration` or `until`"
            raise InvalidArgumentError.at(f"{id}.config", message, "give one of them")
        return self._node(id, "wait", given(duration=duration or _duration(seconds, id), until=until))

    def signal(
        self,
        id: str,  # noqa: A002
        name: str,
        /,
        *,
        timeout_seconds: float | None = None,
        on_timeout: FailOrContinue | None = None,
    ) -> Self:
        """Adds a node that waits for a signal. The signal's payload is its output.

        Args:
            id: The id of the node.
            name: The name of the signal.
            timeout_seconds: Seconds to wait; None for no end.
            on_timeout: `fail` (default) or `continue`, when the signal does not come in time.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: An argument is not valid.
        """
        one_of(on_timeout, FailOrContinue, f"{id}.config.on_timeout")
        options = given(timeout_ms=_duration(timeout_seconds, id), on_timeout=on_timeout)
        return self._node(id, "signal", {"signal": name, **options})

    def approval(
        self,
        id: str,  # noqa: A002
        message: str = "",
        /,
        *,
        approvers: str | Iterable[str] = (),
        required: int = 1,
        expires_seconds: float | None = None,
        on_expire: OnExpire | None = None,
        on_reject: FailOrContinue | None = None,
        escalate_seconds: float | None = None,
        escalate_to: str | Iterable[str] = (),
    ) -> Self:
        """Adds a node that waits until enough people approve, or one rejects.

        Args:
            id: The id of the node.
            message: The question.
            approvers: The people who may answer; empty for anyone with the permission `write`.
            required: The number of different people who have to approve.
            expires_seconds: Seconds to wait; None for no end.
            on_expire: `fail` (default), `approve` or `reject`, when too few people answer in time.
            on_reject: `fail` (default) or `continue`, when someone rejects.
            escalate_seconds: Seconds after which the people in `escalate_to` may answer too; None for never.
            escalate_to: The people who may answer then.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: An argument is not valid.
        """
        one_of(on_expire, OnExpire, f"{id}.config.on_expire")
        one_of(on_reject, FailOrContinue, f"{id}.config.on_reject")
        options = given(
            expires_ms=_duration(expires_seconds, id),
            on_expire=on_expire,
            on_reject=on_reject,
            escalate_ms=_duration(escalate_seconds, id),
        )
        people = {"approvers": names(approvers), "escalate_to": names(escalate_to)}
        return self._node(id, "approval", {"message": message, "required": required, **options, **people})

    def continue_as_new(self, id: str, /, **inputs: Any) -> Self:  # noqa: A002
        """Adds a node that ends the run and starts a new one of the same definition.

        Args:
            id: The id of the node.
            inputs: The inputs of the new run.

        Returns:
            The builder.
        """
        return self._node(id, "continue_as_new", {"inputs": inputs})

    def end(
        self,
        id: str,  # noqa: A002
        /,
        *,
        status: EndStatus | None = None,
        output: Any = None,
        error_type: str | None = None,
        message: str | None = None,
    ) -> Self:
        """Adds a node that ends the run early. What runs is cancelled, and nothing else begins.

        Args:
            id: The id of the node.
            status: `completed` (default), `failed` or `cancelled`.
            output: The run's output if it completes; None for the outputs of the workflow.
            error_type: The type of the error of a run that fails; None for `ended`.
            message: Why the run fails or is cancelled.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The status is not one of these.
        """
        one_of(status, EndStatus, f"{id}.config.status")
        error = given(type=error_type, message=message)
        return self._node(id, "end", given(status=status, output=output, error=error or None))

    def _node(self, node_id: str, kind: str, config: dict[str, Any]) -> Self:
        return self._add(node_id, {"type": kind, "config": config})

    def _add(self, node_id: str, body: Body) -> Self:
        self._nodes.append({"id": node_id, **body})
        return self


def _duration(seconds: float | None, node: str) -> int | None:
    return None if seconds is None else milliseconds(seconds, f"{node}.config")
