"""A workflow as a whole: its inputs and outputs, its edges, its shared state."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

from agentflow_sdk.builder.checks import milliseconds, names, one_of, problems
from agentflow_sdk.builder.modifiers import Modifiers
from agentflow_sdk.choices import InputType, Reducer
from agentflow_sdk.errors import InvalidArgumentError
from agentflow_sdk.problems import Problem

_ARGUMENTS: Final = {"tool": "tool_args", "function": "function_args", "llm": "inputs", "subworkflow": "inputs"}


class Workflow(Modifiers):
    """Builds a definition step by step. Every method returns the builder. Wrong use raises InvalidArgumentError."""

    def __init__(self, name: str, description: str = "") -> None:
        super().__init__()
        self._name = name
        self._version = 1
        self._description = description
        self._deadline_ms: int | None = None
        self._inputs: dict[str, dict[str, Any]] = {}
        self._outputs: dict[str, Any] = {}
        self._edges: list[dict[str, Any]] = []
        self._graph: dict[str, Any] | None = None

    # --- the workflow ---

    def version(self, number: int) -> Self:
        self._version = number
        return self

    def description(self, text: str) -> Self:
        self._description = text
        return self

    def deadline(self, *, seconds: float) -> Self:
        """For the whole run, from its submission."""
        self._deadline_ms = milliseconds(seconds, "deadline")
        return self

    def input(
        self,
        name: str,
        type: InputType = "any",  # noqa: A002
        *,
        default: Any = None,
        required: bool | None = None,
        description: str = "",
    ) -> Self:
        """Declares an input of the run. It is required unless it has a default or `required=False`."""
        one_of(type, InputType, f"inputs.{name}.type")
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

    def graph(
        self,
        entry_point: str,
        *,
        schema: Mapping[str, Any] | None = None,
        reducers: Mapping[str, Reducer] | None = None,
        initial: Mapping[str, Any] | None = None,
        max_supersteps: int | None = None,
    ) -> Self:
        """Makes it a graph with a shared state: nodes run when an edge to them is taken, as often as it is; an edge to
        `END` leads nowhere. reducers: replace (default), append, extend, merge, union, sum, max, min or first, by key.
        A node without arguments is given the state. `state.key` in a value is what the state holds."""
        for key, reducer in (reducers or {}).items():
            one_of(reducer, Reducer, f"graph.state.reducers.{key}")
        state = {"schema": schema, "reducers": reducers, "initial": initial}
        self._graph = {"entry_point": entry_point, "state": {k: dict(v) for k, v in state.items() if v is not None}}
        if max_supersteps is not None:
            self._graph["max_supersteps"] = max_supersteps
        return self

    # --- edges ---

    def edge(
        self, source: str, target: str, *, condition: str | None = None, max_iterations: int | None = None
    ) -> Self:
        """`target` runs after `source`; with a condition (CEL), only if it holds. max_iterations makes it an edge back:
        what lies between its ends runs again, so often at most."""
        new: dict[str, Any] = {"from": source, "to": target}
        if condition is not None:
            new["condition"] = condition
        if max_iterations is not None:
            new["max_iterations"] = max_iterations
        for known in self._edges:
            if (known["from"], known["to"]) == (source, target):
                known.update(new)
                return self
        self._edges.append(new)
        return self

    def depends_on(self, *sources: str | Iterable[str]) -> Self:
        target = self._last("depends_on")["id"]
        for given in sources:
            for source in names(given):
                self.edge(source, target)
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
        made: dict[str, Any] = copy.deepcopy(data)
        if self._graph is not None:
            made["graph"] = copy.deepcopy(self._graph)
            for node in made["dag"]["nodes"]:
                _give_state(node)
        return made

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
        yield from problems(self.to_dict())

    def __repr__(self) -> str:
        return f"Workflow({self._name!r}, version={self._version}, nodes={len(self._nodes)})"


def _give_state(node: dict[str, Any]) -> None:
    arguments = _ARGUMENTS.get(node["type"])
    config = node["config"]
    if arguments is not None and not config.get(arguments) and not config.get("inputs"):
        config["state_args"] = True
