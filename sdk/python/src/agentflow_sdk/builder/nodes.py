"""The methods that add a node."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from agentflow_sdk.builder.body import Body
from agentflow_sdk.builder.checks import milliseconds, names, one_of, wrong
from agentflow_sdk.choices import AnswerFormat, FailOrContinue, OnExpire, OnMax


class Nodes:
    """Each adds a node, to which the modifiers after it apply. Values may be references (`ingest.output.text`),
    templates (`{{name}}`) or plain."""

    def __init__(self) -> None:
        self._nodes: list[dict[str, Any]] = []

    def tool(self, id: str, tool_name: str, /, *, reveal: str | Iterable[str] = (), **args: Any) -> Self:  # noqa: A002
        """A tool call. reveal: arguments that need the original values instead of redaction tokens."""
        config: dict[str, Any] = {"tool_name": tool_name, "tool_args": args}
        if reveal:
            config["reveal"] = names(reveal)
        return self._add(id, "tool", config)

    def llm(
        self,
        id: str,  # noqa: A002
        prompt_ref: str,
        /,
        *,
        output: AnswerFormat | None = None,
        max_output_tokens: int | None = None,
        temperature: float | None = None,
    ) -> Self:
        """A model call with a prompt: `name`, `name@3` or `name@label`. output: `text` (default) or `json`."""
        config: dict[str, Any] = {"prompt_ref": prompt_ref}
        one_of(output, AnswerFormat, f"{id}.config.output")
        options = {"output": output, "max_output_tokens": max_output_tokens, "temperature": temperature}
        config.update({key: value for key, value in options.items() if value is not None})
        return self._add(id, "llm", config)

    def function(self, id: str, function_name: str, /, **args: Any) -> Self:  # noqa: A002
        """A function that a worker has registered."""
        return self._add(id, "function", {"function_name": function_name, "function_args": args})

    def subworkflow(self, id: str, workflow: str, /, **inputs: Any) -> Self:  # noqa: A002
        """A registered workflow as a run of its own: `name`, `name@3` or `name@label`."""
        return self._add(id, "subworkflow", {"workflow": workflow, "inputs": inputs})

    def map(
        self,
        id: str,  # noqa: A002
        body: Body,
        /,
        *,
        over: Any,
        item: str | None = None,
        concurrency: int | None = None,
        on_item_failure: FailOrContinue | None = None,
        max_failures: float | None = None,
    ) -> Self:
        """The body (see `agentflow_sdk.body`) once for each item of `over`; `{{item}}` and `{{index}}` stand in it.
        on_item_failure: `fail` (default) or `continue`, then for at most max_failures (a fraction if below 1)."""
        one_of(on_item_failure, FailOrContinue, f"{id}.config.on_item_failure")
        options = {"item": item, "concurrency": concurrency, "on_item_failure": on_item_failure,
                   "max_failures": max_failures}  # fmt: skip
        return self._add(id, "map", {"over": over, "body": body, **_given(options)})

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
        """The body again and again, `until` or `while` a CEL condition on `iteration` and `previous` holds.
        on_max: `complete` (default) or `fail` when max_iterations did not suffice."""
        if (until is None) == (while_ is None):
            raise wrong(f"{id}.config", "a loop needs either `until` or `while_`", "give one of them")
        one_of(on_max, OnMax, f"{id}.config.on_max")
        options = {"until": until, "while": while_, "on_max": on_max,
                   "delay_ms": _duration(delay_seconds, id)}  # fmt: skip
        return self._add(id, "loop", {"body": body, "max_iterations": max_iterations, **_given(options)})

    def wait(
        self,
        id: str,  # noqa: A002
        /,
        *,
        seconds: float | None = None,
        duration: str | None = None,
        until: str | int | None = None,
    ) -> Self:
        """For a time: `seconds`, or as `duration` a text like `1h30m`, a reference or a template; or `until` one: RFC
        3339, ms since the epoch, or a template that gives either."""
        if sum(given is not None for given in (seconds, duration, until)) != 1:
            raise wrong(f"{id}.config", "a wait needs `seconds`, `duration` or `until`", "give one of them")
        return self._add(id, "wait", _given({"duration": duration or _duration(seconds, id), "until": until}))

    def signal(
        self,
        id: str,  # noqa: A002
        name: str,
        /,
        *,
        timeout_seconds: float | None = None,
        on_timeout: FailOrContinue | None = None,
    ) -> Self:
        """Waits for a signal of this name; its payload is the output. on_timeout: `fail` (default) or `continue`."""
        one_of(on_timeout, FailOrContinue, f"{id}.config.on_timeout")
        options = {"timeout_ms": _duration(timeout_seconds, id), "on_timeout": on_timeout}
        return self._add(id, "signal", {"signal": name, **_given(options)})

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
        """Waits until `required` different people approve, or one rejects. approvers: empty for anyone who may write.
        on_expire: `fail` (default), `approve` or `reject`. on_reject: `fail` (default) or `continue`."""
        one_of(on_expire, OnExpire, f"{id}.config.on_expire")
        one_of(on_reject, FailOrContinue, f"{id}.config.on_reject")
        options = {
            "expires_ms": _duration(expires_seconds, id),
            "on_expire": on_expire,
            "on_reject": on_reject,
            "escalate_ms": _duration(escalate_seconds, id),
        }
        config: dict[str, Any] = {"message": message, "required": required, **_given(options)}
        config["approvers"], config["escalate_to"] = names(approvers), names(escalate_to)
        return self._add(id, "approval", config)

    def continue_as_new(self, id: str, /, **inputs: Any) -> Self:  # noqa: A002
        """Ends the run and begins a new one of the same definition with these inputs."""
        return self._add(id, "continue_as_new", {"inputs": inputs})

    def _add(self, node_id: str, kind: str, config: dict[str, Any]) -> Self:
        self._nodes.append({"id": node_id, "type": kind, "config": config})
        return self


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _duration(seconds: float | None, node: str) -> int | None:
    return None if seconds is None else milliseconds(seconds, f"{node}.config")
