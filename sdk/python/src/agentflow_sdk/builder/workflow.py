"""A workflow as a whole: its inputs and outputs, its edges, its shared state."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self, Unpack

from agentflow_sdk.builder.checks import given, milliseconds, names, one_of, problems
from agentflow_sdk.builder.subworkflows import SubworkflowModifiers
from agentflow_sdk.choices import InputRuleName, InputRules, InputType, Reducer
from agentflow_sdk.errors import InvalidArgumentError
from agentflow_sdk.problems import Problem

_ARGUMENTS: Final = {"tool": "tool_args", "function": "function_args", "llm": "inputs", "subworkflow": "inputs"}


class Workflow(SubworkflowModifiers):
    """Builds a definition step by step. Every method returns the builder, so that calls can be chained.

    A method that is used in a wrong way raises InvalidArgumentError at once. `validate` checks the whole structure.

    Args:
        name: The name of the workflow: a letter, then letters, digits, `_` or `-`.
        description: The purpose of the workflow, for people.
    """

    def __init__(self, name: str, description: str = "") -> None:
        super().__init__()
        self._name = name
        self._version = 1
        self._description = description
        self._deadline_ms: int | None = None
        self._finally_ms: int | None = None
        self._run_lane: dict[str, Any] | None = None
        self._locks: list[dict[str, Any]] = []
        self._inputs: dict[str, dict[str, Any]] = {}
        self._outputs: dict[str, Any] = {}
        self._edges: list[dict[str, Any]] = []
        self._graph: dict[str, Any] | None = None

    def version(self, number: int) -> Self:
        """Sets the version.

        Args:
            number: From 1 (default).

        Returns:
            The builder.
        """
        self._version = number
        return self

    def description(self, text: str) -> Self:
        """Sets the description.

        Args:
            text: The purpose of the workflow, for people.

        Returns:
            The builder.
        """
        self._description = text
        return self

    def deadline(self, *, seconds: float) -> Self:
        """Limits the whole run.

        Args:
            seconds: Seconds from the submission.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The duration is not above 0.
        """
        self._deadline_ms = milliseconds(seconds, "deadline")
        return self

    def finally_limit(self, *, seconds: float) -> Self:
        """Limits all nodes that run at the end, together.

        Args:
            seconds: Seconds from the moment at which everything else of the run is over.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The duration is not above 0.
        """
        self._finally_ms = milliseconds(seconds, "finally_limit")
        return self

    def run_lane(
        self, key: str, *, limit: int | None = None, rate: str | None = None, policy: str | None = None
    ) -> Self:
        """Limits how many runs go on at a time.

        Args:
            key: The name of the lane, for example the template `{{customer}}`. Runs with the same key share it.
            limit: The most runs of one key at a time; None for one.
            rate: The most runs of one key that may begin in a time: `10/s`, `100/m`. None for no bound.
            policy: What follows if no slot is free: `queue` (default), `skip`, `cancel_running`, `cancel_newest` or
                `newest_waits`.

        Returns:
            The builder.
        """
        self._run_lane = {"key": key, **given(limit=limit, rate=rate, policy=policy)}
        return self

    def lock(self, key: str, *nodes: str) -> Self:
        """Puts a lock around several nodes, which one run has at a time. Called again, it adds another lock.

        Args:
            key: The name of the lock, for example the template `{{account}}`. Runs with the same key share it.
            nodes: The names of the nodes. It is taken before the first begins, and given back when all have ended.

        Returns:
            The builder.
        """
        self._locks.append({"key": key, "nodes": [*nodes]})
        return self

    def input(
        self,
        name: str,
        type: InputType = "any",  # noqa: A002
        *,
        default: Any = None,
        required: bool | None = None,
        description: str = "",
        **rules: Unpack[InputRules],
    ) -> Self:
        """Declares an input of the run.

        Args:
            name: The name of the input.
            type: `string`, `integer`, `number`, `boolean`, `array`, `object` or `any` (default).
            default: The value if the input is left out; None for no default.
            required: False if the input may be left out. By default it is required unless it has a default.
            description: The meaning of the input, for people.
            rules: What the value has to fit: `enum`, `minimum`, `max_length`, `pattern`, `format`, `items`, `schema`
                and the others of `InputRules`.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The type or a rule is not known.
        """
        one_of(type, InputType, f"inputs.{name}.type")
        for rule in rules:
            one_of(rule, InputRuleName, f"inputs.{name}")
        spec: dict[str, Any] = {"type": type, **given(default=default)}
        if required is False or (required is None and default is not None):
            spec["required"] = False
        if description:
            spec["description"] = description
        for rule, value in rules.items():
            first, *others = rule.split("_")
            spec[first + "".join(map(str.title, others))] = list(value) if isinstance(value, tuple) else value
        self._inputs[name] = spec
        return self

    def output(self, name: str, ref: Any) -> Self:
        """Declares a field of the run's output.

        Args:
            name: The name of the field.
            ref: A reference (`analyze.output`), a template, or any structure of them.

        Returns:
            The builder.
        """
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
        """Makes the workflow a graph with a shared state.

        A node runs each time that an edge to it is taken, and an edge to `END` ends the path. A node without arguments
        gets the state, and `state.key` in a value refers to it.

        Args:
            entry_point: The id of the first node.
            schema: The JSON Schema of the state.
            reducers: How a write is merged into the state, by key: `replace` (default), `append`, `extend`, `merge`,
                `union`, `sum`, `max`, `min` or `first`.
            initial: The initial values of the state by key.
            max_supersteps: The most rounds; None for the platform's limit.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: A reducer is not known.
        """
        for key, reducer in (reducers or {}).items():
            one_of(reducer, Reducer, f"graph.state.reducers.{key}")
        state = {key: dict(value) for key, value in given(schema=schema, reducers=reducers, initial=initial).items()}
        self._graph = {"entry_point": entry_point, "state": state, **given(max_supersteps=max_supersteps)}
        return self

    def edge(
        self,
        source: str,
        target: str,
        *,
        condition: str | None = None,
        max_iterations: int | None = None,
        over: str | list[Any] | None = None,
        item: str | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> Self:
        """Lets one node run after another.

        Args:
            source: The id of the first node.
            target: The id of the node that runs after it.
            condition: A condition in CEL; the edge is taken only if it is true. None for no condition.
            max_iterations: Makes it an edge back: the nodes between its ends run again, at most this often.
            over: In a graph: a list, or what refers to one (`state.tasks`). The target runs once for each item.
            item: The name of an item in `condition` and `args`; `item` if it is None.
            args: In a graph: what the target is given instead of the state.

        Returns:
            The builder.
        """
        new: dict[str, Any] = {
            "from": source,
            "to": target,
            **given(condition=condition, max_iterations=max_iterations, over=over, item=item, args=args),
        }
        for known in self._edges:
            if (known["from"], known["to"]) == (source, target):
                known.update(new)
                return self
        self._edges.append(new)
        return self

    def depends_on(self, *sources: str | Iterable[str]) -> Self:
        """Lets the node that was added last run after other nodes.

        Args:
            sources: The ids of these nodes.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: No node was added yet.
        """
        target = self._last("depends_on")["id"]
        for listed in sources:
            for source in names(listed):
                self.edge(source, target)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Returns the definition as plain data. Later changes of the builder do not change it.

        Returns:
            The definition.
        """
        data: dict[str, Any] = {"name": self._name, "version": self._version}
        if self._description:
            data["description"] = self._description
        if self._inputs:
            data["inputs"] = self._inputs
        if self._outputs:
            data["outputs"] = self._outputs
        if self._deadline_ms is not None:
            data["deadline_ms"] = self._deadline_ms
        if self._finally_ms is not None:
            data["finally_ms"] = self._finally_ms
        if self._run_lane is not None:
            data["run_lane"] = self._run_lane
        if self._locks:
            data["lock"] = self._locks
        data["dag"] = {"nodes": self._nodes, "edges": self._edges}
        made: dict[str, Any] = copy.deepcopy(data)
        if self._graph is not None:
            made["graph"] = copy.deepcopy(self._graph)
            for node in made["dag"]["nodes"]:
                _give_state(node)
        return made

    def to_yaml(self) -> str:
        """Returns the definition as a text in YAML.

        Returns:
            The definition.
        """
        import yaml

        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=110)
        return text

    def validate(self) -> Self:
        """Checks the structure without a server.

        Returns:
            The builder.

        Raises:
            InvalidArgumentError: The definition is not valid; `problems` lists each place.
        """
        found = tuple(self.problems())
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise InvalidArgumentError(f"the workflow {self._name!r} is not valid{more}", problems=found)
        return self

    def problems(self) -> Iterable[Problem]:
        """Returns what is wrong with names, ids, ends of edges, references and cycles.

        Templates and conditions are checked by the server alone.

        Returns:
            The problems, each with its place and its fix.
        """
        yield from problems(self.to_dict())

    def __repr__(self) -> str:
        return f"Workflow({self._name!r}, version={self._version}, nodes={len(self._nodes)})"


def _give_state(node: dict[str, Any]) -> None:
    arguments = _ARGUMENTS.get(node["type"])
    config = node["config"]
    if arguments is not None and not config.get(arguments) and not config.get("inputs"):
        config["state_args"] = True
