"""The methods that say more of the node that was added last."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Self, Unpack

from agentflow_sdk.builder.body import Body
from agentflow_sdk.builder.checks import milliseconds, names, one_of, wrong
from agentflow_sdk.builder.nodes import Nodes
from agentflow_sdk.choices import Backoff, FailOrContinue, OnTruncated, OnUnknown, Quality, RetryOptions

_WITHOUT_INPUTS: Final = ("map", "loop", "wait", "signal", "approval")


class Modifiers(Nodes):
    """Each applies to the last node."""

    def inputs(self, **values: Any) -> Self:
        """Arguments of the node: references (`ingest.output.text`), templates (`{{name}}`) or plain values."""
        config = self._config("inputs")
        kind = self._nodes[-1]["type"]
        if kind in _WITHOUT_INPUTS:
            fix = "give them to its body" if "body" in config else "remove them"
            raise wrong(self._place("config.inputs"), f"a {kind} node takes no inputs", fix)
        config.setdefault("inputs", {}).update(values)
        return self

    def condition(self, expression: str) -> Self:
        """CEL; when it is false the node is skipped: `classify.output.type == 'text'`."""
        self._last("condition")["condition"] = expression
        return self

    def parallel(self, over: str | None = None) -> Self:
        """One child for each item of the input list. over: the argument that holds the list, if there are several."""
        config = self._config("parallel")
        config["parallel"] = True
        if over is not None:
            config["for_each"] = over
        return self

    def quality(self, tier: Quality) -> Self:
        """Which tier of models may answer."""
        return self._policy("quality", one_of(tier.capitalize(), Quality, self._place("policy.quality")))

    def sla(self, *, seconds: float) -> Self:
        """How fast the answer should come: guides routing."""
        return self._policy("sla_ms", milliseconds(seconds, self._place("policy.sla_ms")))

    def timeout(self, *, seconds: float) -> Self:
        """Bounds one attempt."""
        return self._policy("timeout_ms", milliseconds(seconds, self._place("policy.timeout_ms")))

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
        """max_attempts counts the first one. backoff: fixed, linear or exponential. jitter: fraction of the delay.
        retryable, non_retryable: types of errors by name, or exceptions; their subclasses are meant too."""
        one_of(backoff, Backoff, self._place("policy.retry.backoff"))
        spec: dict[str, Any] = {"max_attempts": max_attempts, "backoff": backoff}
        numbers = {"initial_ms": initial_ms, "max_ms": max_ms, "jitter": jitter}
        spec.update({key: value for key, value in numbers.items() if value is not None})
        types = {"retryable": names(retryable), "non_retryable": names(non_retryable)}
        spec.update({key: kinds for key, kinds in types.items() if kinds})
        return self._policy("retry", spec)

    def on_failure(self, action: FailOrContinue) -> Self:
        """`fail` the run (default) or `continue` without this node's output."""
        return self._policy("on_failure", one_of(action, FailOrContinue, self._place("policy.on_failure")))

    def on_unknown(self, action: OnUnknown) -> Self:
        """What to do when nobody knows whether a non-idempotent tool took effect: `fail` (default), `retry`, or `ask`
        somebody (`client.workflows.resolve`)."""
        return self._policy("on_unknown", one_of(action, OnUnknown, self._place("policy.on_unknown")))

    def cache(self, enabled: bool = True) -> Self:
        """Reuse the answer of an identical earlier model call."""
        return self._policy("cache", enabled)

    def on_truncated(self, action: OnTruncated) -> Self:
        """What follows when the limit on its length cut off a model's answer.

        `fail` (default) ends the step. `accept` takes what came, even if it is cut off or empty. `continue` asks the
        same model for the rest, up to three times.
        """
        return self._policy("on_truncated", one_of(action, OnTruncated, self._place("policy.on_truncated")))

    def model(self, name: str) -> Self:
        """Pins `provider/model` instead of routing by quality."""
        return self._policy("model", name)

    def total_timeout(self, *, seconds: float) -> Self:
        """Bounds all attempts together."""
        return self._policy("total_timeout_ms", milliseconds(seconds, self._place("policy.total_timeout_ms")))

    def heartbeat(self, *, seconds: float) -> Self:
        """An attempt that is silent for so long is lost."""
        return self._policy("heartbeat_ms", milliseconds(seconds, self._place("policy.heartbeat_ms")))

    def lane(self, name: str, *, limit: int | None = None, rate: str | None = None, pool: str | None = None) -> Self:
        """The pool whose workers run this node, or, as a template (`{{org}}-{{customer}}`), a key of which at most
        `limit` attempts run at a time and `rate` (`10/s`, `100/m`) begin, in the workers' `pool`."""
        node = self._last("lane")
        node["lane"] = name
        options = {"lane_limit": limit, "lane_rate": rate, "pool": pool}
        node.update({key: value for key, value in options.items() if value is not None})
        return self

    def priority(self, number: int) -> Self:
        """Over the run's own: a higher one goes first where steps wait for a slot."""
        self._last("priority")["priority"] = number
        return self

    def compensate_with(self, body: Body, *, max_attempts: int | None = None, **retry: Unpack[RetryOptions]) -> Self:
        """What undoes the node if the run fails later: a tool or a function (see `agentflow_sdk.body`). retry: what
        else `retry()` takes, as `initial_ms`; without it, five attempts."""
        undo = dict(body)
        unknown = sorted(retry.keys() - RetryOptions.__annotations__.keys())
        if unknown:
            known = ", ".join(RetryOptions.__annotations__)
            raise wrong(self._place("compensate_with.retry"), f"unknown {', '.join(unknown)}", f"use {known}")
        if max_attempts is not None or retry:
            undo["retry"] = {"max_attempts": 5 if max_attempts is None else max_attempts, **retry}
        self._last("compensate_with")["compensate_with"] = undo
        return self

    def writes(self, key: str | None = None, /, **parts: str) -> Self:
        """In a graph: the key of the shared state that gets the output, or parts of it by key
        (`score="output.score"`)."""
        if (key is None) == (not parts):
            raise wrong(self._place("writes"), "give a key, or parts by key", 'for example .writes("summary")')
        self._last("writes")["writes"] = parts or key
        return self

    def _last(self, what: str) -> dict[str, Any]:
        if not self._nodes:
            raise wrong(what, "there is no node to apply it to", "add a node first")
        return self._nodes[-1]

    def _place(self, field: str) -> str:
        return f"dag.nodes[{max(0, len(self._nodes) - 1)}].{field}"

    def _config(self, what: str) -> dict[str, Any]:
        config: dict[str, Any] = self._last(what)["config"]
        return config

    def _policy(self, key: str, value: Any) -> Self:
        self._last(key).setdefault("policy", {})[key] = value
        return self
