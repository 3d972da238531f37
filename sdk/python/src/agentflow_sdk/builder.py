"""The fluent builder of workflow definitions.

>>> flow = (
...     Workflow("document_analysis").version(1)
...     .tool("ingest", "file.read", path="{{document_key}}")
...     .llm("analyze", "document_analyzer@1").quality("Gold").sla(seconds=30)
...     .inputs(content="ingest.output.text").depends_on("ingest")
... )

`tool`, `llm` and `function` add a node; the modifiers after it (`quality`, `inputs`, `retry`, ...) apply to that node.
The result is the same definition that YAML gives; the server checks it in full, `validate()` checks its structure here.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

from agentflow_sdk.errors import InvalidArgumentError, Problem

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
_PROMPT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}(@[A-Za-z0-9_.-]{1,64})?\Z")
_REFERENCE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)\.(?:output|status|error)(?:[.\[].*)?\Z")
_QUALITIES: Final = ("Gold", "Silver", "Bronze")
_BACKOFFS: Final = ("fixed", "linear", "exponential")
_TYPES: Final = ("string", "integer", "number", "boolean", "array", "object", "any")


class Workflow:
    """Builds a definition step by step. Every method returns the builder. Wrong use raises InvalidArgumentError."""

    def __init__(self, name: str, description: str = "") -> None:
        self._name = name
        self._version = 1
        self._description = description
        self._deadline_ms: int | None = None
        self._inputs: dict[str, dict[str, Any]] = {}
        self._outputs: dict[str, Any] = {}
        self._nodes: list[dict[str, Any]] = []
        self._edges: list[dict[str, Any]] = []

    # --- the workflow ---

    def version(self, number: int) -> Self:
        self._version = number
        return self

    def description(self, text: str) -> Self:
        self._description = text
        return self

    def deadline(self, *, seconds: float) -> Self:
        """For the whole run, from its submission."""
        self._deadline_ms = _milliseconds(seconds, "deadline")
        return self

    def input(
        self,
        name: str,
        type: str = "any",  # noqa: A002
        *,
        default: Any = None,
        required: bool | None = None,
        description: str = "",
    ) -> Self:
        """Declares an input of the run. It is required unless it has a default or `required=False`."""
        if type not in _TYPES:
            raise _wrong(f"inputs.{name}.type", f"{type!r} is no type", f"use one of {', '.join(_TYPES)}")
        spec: dict[str, Any] = {"type": type}
        if default is not None:
            spec["default"] = default
        if required is False or (required is None and default is not None):
            spec["required"] = False
        if description:
            spec["description"] = description
        self._inputs[name] = spec
        return self

    def output(self, name: str, ref: Any) -> Self:
        """A field of the run's output: a reference (`analyze.output`), a template, or any structure of them."""
        self._outputs[name] = ref
        return self

    # --- nodes ---

    def tool(self, id: str, tool_name: str, /, *, reveal: Iterable[str] = (), **args: Any) -> Self:  # noqa: A002
        """A tool call. reveal: arguments that need the original values instead of redaction tokens."""
        config: dict[str, Any] = {"tool_name": tool_name, "tool_args": args}
        if reveal:
            config["reveal"] = list(reveal)
        return self._add(id, "tool", config)

    def llm(
        self,
        id: str,  # noqa: A002
        prompt_ref: str,
        /,
        *,
        output: str | None = None,
        max_output_tokens: int | None = None,
        temperature: float | None = None,
    ) -> Self:
        """A model call with a prompt: `name`, `name@3` or `name@label`. output: `text` (default) or `json`."""
        config: dict[str, Any] = {"prompt_ref": prompt_ref}
        options = {"output": output, "max_output_tokens": max_output_tokens, "temperature": temperature}
        config.update({key: value for key, value in options.items() if value is not None})
        return self._add(id, "llm", config)

    def function(self, id: str, function_name: str, /, **args: Any) -> Self:  # noqa: A002
        """A function that a worker has registered."""
        return self._add(id, "function", {"function_name": function_name, "function_args": args})

    def edge(self, source: str, target: str, *, condition: str | None = None) -> Self:
        """`target` runs after `source`; with a condition (CEL), only if it holds."""
        new: dict[str, Any] = {"from": source, "to": target}
        if condition is not None:
            new["condition"] = condition
        for known in self._edges:
            if (known["from"], known["to"]) == (source, target):
                if condition is not None:
                    known["condition"] = condition
                return self
        self._edges.append(new)
        return self

    # --- modifiers of the last node ---

    def inputs(self, **values: Any) -> Self:
        """Arguments of the node: references (`ingest.output.text`), templates (`{{name}}`) or plain values."""
        self._config("inputs").setdefault("inputs", {}).update(values)
        return self

    def depends_on(self, *sources: str) -> Self:
        target = self._last("depends_on")["id"]
        for source in sources:
            self.edge(source, target)
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

    def quality(self, tier: str) -> Self:
        """`Gold`, `Silver` or `Bronze`."""
        if tier.capitalize() not in _QUALITIES:
            raise _wrong(self._place("policy.quality"), f"{tier!r} is no quality", f"use {', '.join(_QUALITIES)}")
        return self._policy("quality", tier.capitalize())

    def sla(self, *, seconds: float) -> Self:
        """How fast the answer should come: guides routing."""
        return self._policy("sla_ms", _milliseconds(seconds, self._place("policy.sla_ms")))

    def timeout(self, *, seconds: float) -> Self:
        """Bounds one attempt."""
        return self._policy("timeout_ms", _milliseconds(seconds, self._place("policy.timeout_ms")))

    def retry(
        self,
        max_attempts: int,
        *,
        backoff: str = "exponential",
        initial_ms: int | None = None,
        max_ms: int | None = None,
        jitter: float | None = None,
        retryable: Iterable[str] = (),
        non_retryable: Iterable[str] = (),
    ) -> Self:
        """max_attempts counts the first one. backoff: fixed, linear or exponential. jitter: fraction of the delay."""
        if backoff not in _BACKOFFS:
            raise _wrong(
                self._place("policy.retry.backoff"), f"{backoff!r} is no backoff", f"use {', '.join(_BACKOFFS)}"
            )
        spec: dict[str, Any] = {"max_attempts": max_attempts, "backoff": backoff}
        numbers = {"initial_ms": initial_ms, "max_ms": max_ms, "jitter": jitter}
        spec.update({key: value for key, value in numbers.items() if value is not None})
        types = {"retryable": list(retryable), "non_retryable": list(non_retryable)}
        spec.update({key: names for key, names in types.items() if names})
        return self._policy("retry", spec)

    def on_failure(self, action: str) -> Self:
        """`fail` the run (default) or `continue` without this node's output."""
        return self._policy("on_failure", action)

    def on_unknown(self, action: str) -> Self:
        """What to do when nobody knows whether a non-idempotent tool took effect: `fail` (default) or `retry`."""
        return self._policy("on_unknown", action)

    def cache(self, enabled: bool = True) -> Self:
        """Reuse the answer of an identical earlier model call."""
        return self._policy("cache", enabled)

    def model(self, name: str) -> Self:
        """Pins `provider/model` instead of routing by quality."""
        return self._policy("model", name)

    def lane(self, name: str) -> Self:
        """The lane whose workers run this node."""
        self._last("lane")["lane"] = name
        return self

    # --- results ---

    def to_dict(self) -> dict[str, Any]:
        """The definition as plain data; later changes to the builder don't reach it."""
        data: dict[str, Any] = {"name": self._name, "version": self._version}
        if self._description:
            data["description"] = self._description
        if self._inputs:
            data["inputs"] = self._inputs
        if self._outputs:
            data["outputs"] = self._outputs
        if self._deadline_ms is not None:
            data["deadline_ms"] = self._deadline_ms
        data["dag"] = {"nodes": self._nodes, "edges": self._edges}
        return copy.deepcopy(data)

    def to_yaml(self) -> str:
        import yaml

        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=110)
        return text

    def validate(self) -> Self:
        """Checks the structure without a server. Raises InvalidArgumentError with every problem."""
        problems = tuple(self.problems())
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise InvalidArgumentError(f"the workflow {self._name!r} is not valid{more}", problems=problems)
        return self

    def problems(self) -> Iterable[Problem]:
        """Names, unique ids, ends of edges, references, cycles. Templates and CEL are the server's to check."""
        if not _NAME.match(self._name):
            yield Problem("name", f"{self._name!r} is not a name", "use a letter, then letters, digits, '_' or '-'")
        if self._version < 1:
            yield Problem("version", f"{self._version} is below 1", "versions count from 1")
        if not self._nodes:
            yield Problem("dag.nodes", "there is no node", "add one with tool(), llm() or function()")
        ids = {node["id"] for node in self._nodes}
        seen: set[str] = set()
        for index, node in enumerate(self._nodes):
            yield from _node_problems(f"dag.nodes[{index}]", node, seen, ids)
            seen.add(node["id"])
        for index, edge in enumerate(self._edges):
            for end in ("from", "to"):
                if edge[end] not in ids:
                    yield Problem(f"dag.edges[{index}].{end}", f"there is no node {edge[end]!r}", _known(ids))
        yield from _reference_problems("outputs", self._outputs, ids, "")
        loop = _cycle(self._nodes, self._edges)
        if loop:
            yield Problem("dag.edges", f"the nodes form a cycle: {' -> '.join(loop)}", "remove one of these edges")

    def __repr__(self) -> str:
        return f"Workflow({self._name!r}, version={self._version}, nodes={len(self._nodes)})"

    # --- inside ---

    def _add(self, node_id: str, kind: str, config: dict[str, Any]) -> Self:
        self._nodes.append({"id": node_id, "type": kind, "config": config})
        return self

    def _last(self, what: str) -> dict[str, Any]:
        if not self._nodes:
            raise _wrong(what, "there is no node to apply it to", "call tool(), llm() or function() first")
        return self._nodes[-1]

    def _place(self, field: str) -> str:
        return f"dag.nodes[{max(0, len(self._nodes) - 1)}].{field}"

    def _config(self, what: str) -> dict[str, Any]:
        config: dict[str, Any] = self._last(what)["config"]
        return config

    def _policy(self, key: str, value: Any) -> Self:
        self._last(key).setdefault("policy", {})[key] = value
        return self


def _wrong(place: str, message: str, fix: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{place}: {message}", problems=(Problem(place, message, fix),))


def _milliseconds(seconds: float, place: str) -> int:
    if not 0 < seconds < float("inf"):
        raise _wrong(place, f"{seconds} seconds is not a duration", "give a number above 0")
    return max(1, round(seconds * 1000))


def _known(ids: Iterable[str]) -> str:
    return f"the nodes are {', '.join(sorted(ids)[:12])}"


def _node_problems(place: str, node: dict[str, Any], seen: set[str], ids: set[str]) -> Iterable[Problem]:
    if not _NAME.match(node["id"]):
        yield Problem(f"{place}.id", f"{node['id']!r} is not an id", "use a letter, then letters, digits, '_' or '-'")
    if node["id"] in seen:
        yield Problem(f"{place}.id", f"the id {node['id']!r} is taken", "rename one")
    config = node["config"]
    ref = config.get("prompt_ref")
    if ref is not None and not _PROMPT.match(ref):
        yield Problem(f"{place}.config.prompt_ref", f"{ref!r} is not a prompt reference", "write `name` or `name@3`")
    for key in ("tool_name", "function_name"):
        if key in config and not config[key]:
            yield Problem(f"{place}.config.{key}", "is empty", "name the one to call")
    if config.get("parallel") and not (config.get("inputs") or config.get("tool_args") or config.get("function_args")):
        yield Problem(f"{place}.config.parallel", "a parallel node needs an input that is a list", "add .inputs(...)")
    for key in ("inputs", "tool_args", "function_args"):
        yield from _reference_problems(f"{place}.config.{key}", config.get(key, {}), ids, node["id"])


def _reference_problems(place: str, value: Any, ids: set[str], owner: str) -> Iterable[Problem]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _reference_problems(f"{place}.{key}", item, ids, owner)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _reference_problems(f"{place}[{index}]", item, ids, owner)
    elif isinstance(value, str):
        match = _REFERENCE.match(value)
        if match and match[1] not in ids:
            yield Problem(place, f"{value!r} refers to {match[1]!r}, and there is no such node", _known(ids))
        elif match and match[1] == owner:
            yield Problem(place, f"{value!r} refers to the node itself", "refer to a node that runs before")


def _cycle(nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> list[str]:
    """The ids along one cycle of the edges, first and last the same; empty if there is none."""
    ids = {node["id"] for node in nodes}
    sources: dict[str, list[str]] = {name: [] for name in ids}
    for edge in edges:
        if edge["from"] in ids and edge["to"] in ids:
            sources[edge["to"]].append(edge["from"])
    left = dict(sources)
    while True:
        free = [name for name, before in left.items() if not any(source in left for source in before)]
        if not free:
            break
        for name in free:
            del left[name]
    if not left:
        return []
    walk: list[str] = []
    name = min(left)
    while name not in walk:
        walk.append(name)
        name = next(source for source in left[name] if source in left)
    loop = [*walk[walk.index(name) :], name]
    loop.reverse()
    return loop
