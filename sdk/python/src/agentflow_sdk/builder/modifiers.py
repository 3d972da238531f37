"""The methods that set something of the node that was added last."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, Self, Unpack

from agentflow_sdk.builder.body import Body
from agentflow_sdk.builder.checks import given, milliseconds, names, one_of
from agentflow_sdk.builder.nodes import Nodes
from agentflow_sdk.choices import Backoff, FailOrContinue, OnTruncated, OnUnknown, Quality, RetryOptions
from agentflow_sdk.errors import InvalidArgumentError

_WITHOUT_INPUTS: Final = ("map", "loop", "wait", "signal", "approval", "end")


class Modifiers(Nodes):
    """The methods that apply to the node that was added last.

    Each of them raises InvalidArgumentError if no node was added yet.
    """

    def inputs(self, **values: Any) -> Self:
        """Adds arguments to the node.

        Args:
            values: References (`ingest.output.text`), templates (`{{name}}`) or plain values, by name.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: A node of this type takes no inputs.
        """
        config = self._config("inputs")
        kind = self._nodes[-1]["type"]
        if kind in _WITHOUT_INPUTS:
            fix = "give them to its body" if "body" in config else "remove them"
            raise InvalidArgumentError.at(self._place("config.inputs"), f"a {kind} node takes no inputs", fix)
        config.setdefault("inputs", {}).update(values)
        return self

    def condition(self, expression: str) -> Self:
        """Skips the node when a condition is false.

        Args:
            expression: The condition in CEL: `classify.output.type == 'text'`.

        Returns:
            The builder.
        """
        self._last("condition")["condition"] = expression
        return self

    def parallel(self, over: str | None = None) -> Self:
        """Executes the node once for each item of a list among its arguments.

        Args:
            over: The argument that has the list; None if only one of them has one.

        Returns:
            The builder.
        """
        config = self._config("parallel")
        config["parallel"] = True
        if over is not None:
            config["for_each"] = over
        return self

    def quality(self, tier: Quality) -> Self:
        """Chooses the tier of models that may answer.

        Args:
            tier: `Gold`, `Silver` or `Bronze`.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The tier is not known.
        """
        return self._policy("quality", one_of(tier.capitalize(), Quality, self._place("policy.quality")))

    def sla(self, *, seconds: float) -> Self:
        """Sets how fast the answer should come, which guides the choice of a model.

        Args:
            seconds: The duration in seconds.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The duration is not above 0.
        """
        return self._limit("sla_ms", seconds)

    def timeout(self, *, seconds: float) -> Self:
        """Limits each attempt.

        Args:
            seconds: The duration in seconds.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The duration is not above 0.
        """
        return self._limit("timeout_ms", seconds)

    def total_timeout(self, *, seconds: float) -> Self:
        """Limits all attempts together.

        Args:
            seconds: The duration in seconds.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The duration is not above 0.
        """
        return self._limit("total_timeout_ms", seconds)

    def heartbeat(self, *, seconds: float) -> Self:
        """Treats an attempt as lost when it is silent for this long.

        Args:
            seconds: The duration in seconds.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The duration is not above 0.
        """
        return self._limit("heartbeat_ms", seconds)

    def retry(
        self,
        max_attempts: int,
        *,
        backoff: Backoff = "exponential",
        initial_ms: int | str | None = None,
        max_ms: int | str | None = None,
        jitter: float | None = None,
        retryable: str | type | Iterable[str | type] = (),
        non_retryable: str | type | Iterable[str | type] = (),
    ) -> Self:
        """Repeats the node when it fails.

        Args:
            max_attempts: The most attempts, including the first one.
            backoff: `fixed`, `linear` or `exponential` (default), how the delay grows.
            initial_ms: The first delay: milliseconds, or a text such as `2s`. None for the platform's default.
            max_ms: The longest delay, in the same form. None for the platform's default.
            jitter: The part of the delay that is random, from 0 to 1. None for the platform's default.
            retryable: The only types of errors to retry on, by name or as exceptions. Subclasses are included.
            non_retryable: Types of errors not to retry on, in the same form.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The backoff is not known.
        """
        one_of(backoff, Backoff, self._place("policy.retry.backoff"))
        spec: dict[str, Any] = {"max_attempts": max_attempts, "backoff": backoff}
        spec |= given(initial_ms=initial_ms, max_ms=max_ms, jitter=jitter)
        types = {"retryable": names(retryable), "non_retryable": names(non_retryable)}
        spec.update({key: kinds for key, kinds in types.items() if kinds})
        return self._policy("retry", spec)

    def on_failure(self, action: FailOrContinue) -> Self:
        """Chooses what follows when the node fails.

        Args:
            action: `fail` (default) lets the run fail, `continue` goes on without the node's output.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The action is not known.
        """
        return self._policy("on_failure", one_of(action, FailOrContinue, self._place("policy.on_failure")))

    def on_timeout(self, node: str) -> Self:
        """Lets the run go on with another node when this one took too long, after its last attempt.

        Args:
            node: The id of the other node. The edges that leave this one are not taken then.

        Returns:
            The builder.
        """
        return self._policy("on_timeout", node)

    def on_unknown(self, action: OnUnknown) -> Self:
        """Chooses what follows when a worker was lost and the tool may or may not have taken effect.

        Args:
            action: `fail` (default) lets the node fail, `retry` repeats it, and `ask` waits for an answer of a person
                (`client.workflows.resolve`).

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The action is not known.
        """
        return self._policy("on_unknown", one_of(action, OnUnknown, self._place("policy.on_unknown")))

    def on_truncated(self, action: OnTruncated) -> Self:
        """Chooses what follows when the limit on its length cut off a model's answer.

        Args:
            action: `fail` (default) lets the node fail. `accept` takes the text that came, even if it is empty.
                `continue` asks the same model for the rest, up to three times.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The action is not known.
        """
        return self._policy("on_truncated", one_of(action, OnTruncated, self._place("policy.on_truncated")))

    def cache(self, enabled: bool = True) -> Self:
        """Uses the answer of an identical earlier model call again.

        Args:
            enabled: False to ask the model each time.

        Returns:
            The builder.
        """
        return self._policy("cache", enabled)

    def model(self, name: str) -> Self:
        """Pins a model instead of a choice by quality.

        Args:
            name: The model: `provider/model`.

        Returns:
            The builder.
        """
        return self._policy("model", name)

    def lane(self, name: str, *, limit: int | None = None, rate: str | None = None, pool: str | None = None) -> Self:
        """Chooses the workers for the node, or limits how many of its attempts run at a time.

        Args:
            name: The worker pool. Or the key of a keyed lane as a template: `{{org}}-{{customer}}`.
            limit: The most attempts of one key at a time; None for no bound.
            rate: The most attempts of one key that may begin in a time: `10/s`, `100/m`. None for no bound.
            pool: The worker pool of a keyed lane; None for the default one.

        Returns:
            The builder.
        """
        self._last("lane").update({"lane": name, **given(lane_limit=limit, lane_rate=rate, pool=pool)})
        return self

    def join(self, needed: Literal["all", "any"] | int) -> Self:
        """Sets how many of the nodes before it must have completed.

        Args:
            needed: `all` waits until each is decided. `any`, or a number, starts the node when so many have completed,
                and cancels the others.

        Returns:
            The builder.
        """
        self._last("join")["join"] = needed
        return self

    def at_end(self) -> Self:
        """Lets the node run when the run ends, however it ends (`finally: true`). It may read `outcome`.

        Returns:
            The builder.
        """
        self._last("finally")["finally"] = True
        return self

    def priority(self, number: int) -> Self:
        """Sets a priority that replaces the run's own. Steps of a higher priority go first where steps wait for a slot.

        Args:
            number: From -100 to 100.

        Returns:
            The builder.
        """
        self._last("priority")["priority"] = number
        return self

    def compensate_with(self, body: Body, *, max_attempts: int | None = None, **retry: Unpack[RetryOptions]) -> Self:
        """Sets what undoes the node if the run fails later.

        Args:
            body: A tool or a function, from `agentflow_sdk.body`.
            max_attempts: The most attempts; None for five.
            retry: Further options of `retry`, such as `initial_ms`.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: One of the options is not known.
        """
        undo = dict(body)
        unknown = sorted(retry.keys() - RetryOptions.__annotations__.keys())
        if unknown:
            fix = f"use {', '.join(RetryOptions.__annotations__)}"
            raise InvalidArgumentError.at(self._place("compensate_with.retry"), f"unknown {', '.join(unknown)}", fix)
        if max_attempts is not None or retry:
            undo["retry"] = {"max_attempts": 5 if max_attempts is None else max_attempts, **retry}
        self._last("compensate_with")["compensate_with"] = undo
        return self

    def barrier(self) -> Self:
        """Runs the node of a graph once every edge that leads to it was taken, and not for each of them.

        Returns:
            The builder.
        """
        self._last("barrier")["barrier"] = True
        return self

    def writes(self, key: str | None = None, /, **parts: str) -> Self:
        """Writes the node's output into the shared state of a graph. Give either a key or parts.

        Args:
            key: The key of the state that gets the whole output.
            parts: References to parts of the output by key of the state: `score="output.score"`.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: Neither or both are given.
        """
        if (key is None) == (not parts):
            fix = 'for example .writes("summary")'
            raise InvalidArgumentError.at(self._place("writes"), "give a key, or parts by key", fix)
        self._last("writes")["writes"] = parts or key
        return self

    def _last(self, what: str) -> dict[str, Any]:
        if not self._nodes:
            raise InvalidArgumentError.at(what, "there is no node to apply it to", "add a node first")
        return self._nodes[-1]

    def _place(self, field: str) -> str:
        return f"dag.nodes[{max(0, len(self._nodes) - 1)}].{field}"

    def _config(self, what: str) -> dict[str, Any]:
        config: dict[str, Any] = self._last(what)["config"]
        return config

    def _limit(self, key: str, seconds: float) -> Self:
        return self._policy(key, milliseconds(seconds, self._place(f"policy.{key}")))

    def _policy(self, key: str, value: Any) -> Self:
        self._last(key).setdefault("policy", {})[key] = value
        return self
