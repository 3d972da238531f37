"""The workflow definition: one schema for YAML, the SDK's builder and JSON over gRPC (DESIGN section 4).

`parse_text` and `parse_dict` give a checked `Definition` or raise InvalidError with every problem, its place (with the
line for text) and its fix. A definition is data: it is pinned inside `run.submitted`, so its canonical form is stable.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentflow_common import ids
from agentflow_common.errors import InvalidError, Problem

NODES_MAX: Final = 20_000
NODE_ID: Final = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"
NAME: Final = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"

NodeId = Annotated[str, Field(pattern=NODE_ID)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True, str_max_length=262_144)


class Retry(_Model):
    """max_attempts counts the first one. Delays in ms; jitter: fraction of the delay, derived from the event."""

    max_attempts: int = Field(3, ge=1, le=100)
    backoff: Literal["fixed", "linear", "exponential"] = "exponential"
    initial_ms: int = Field(200, ge=0, le=3_600_000)
    max_ms: int = Field(30_000, ge=0, le=86_400_000)
    jitter: float = Field(0.2, ge=0, le=1)
    retryable: tuple[str, ...] = ()
    non_retryable: tuple[str, ...] = ()


class Policy(_Model):
    """timeout_ms bounds one attempt and is enforced by a timer. sla_ms guides routing.

    on_unknown: what follows when a worker vanished in the middle of a step that must not silently be repeated. By
    default a model call is made again (a new attempt, on the record) and a non-idempotent tool fails the run.
    """

    quality: Literal["Gold", "Silver", "Bronze"] | None = None
    sla_ms: int | None = Field(None, ge=1)
    timeout_ms: int | None = Field(None, ge=1, le=30 * 86_400_000)
    retry: Retry = Retry()
    on_failure: Literal["fail", "continue"] = "fail"
    on_unknown: Literal["fail", "retry"] | None = None
    cache: bool = False
    model: str | None = Field(None, pattern=r"^[^/\s]+/\S+$")


class _Config(_Model):
    inputs: dict[str, Any] = {}
    condition: str | None = None
    parallel: bool = False
    for_each: str | None = None


class ToolConfig(_Config):
    tool_name: str = Field(min_length=1, max_length=128)
    tool_args: dict[str, Any] = {}
    reveal: tuple[str, ...] = ()


class FunctionConfig(_Config):
    function_name: str = Field(min_length=1, max_length=128)
    function_args: dict[str, Any] = {}


class LlmConfig(_Config):
    prompt_ref: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}(@[A-Za-z0-9_.-]{1,64})?$")
    output: Literal["text", "json"] = "text"
    max_output_tokens: int | None = Field(None, ge=1, le=1_000_000)
    temperature: float | None = Field(None, ge=0, le=2)


class _Node(_Model):
    id: NodeId
    name: str = ""
    description: str = ""
    policy: Policy = Policy()
    condition: str | None = None
    lane: str = Field("default", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    depends_on: tuple[NodeId, ...] = ()


class ToolNode(_Node):
    type: Literal["tool"]
    config: ToolConfig


class FunctionNode(_Node):
    type: Literal["function"]
    config: FunctionConfig


class LlmNode(_Node):
    type: Literal["llm"]
    config: LlmConfig


Node = Annotated[ToolNode | FunctionNode | LlmNode, Field(discriminator="type")]


class Edge(_Model):
    source: NodeId = Field(alias="from")
    target: NodeId = Field(alias="to")
    condition: str | None = None


class Dag(_Model):
    nodes: tuple[Node, ...] = Field(min_length=1, max_length=NODES_MAX)
    edges: tuple[Edge, ...] = Field((), max_length=20 * NODES_MAX)


class InputSpec(_Model):
    type: Literal["string", "integer", "number", "boolean", "array", "object", "any"] = "any"
    required: bool = True
    default: Any = None
    description: str = ""


class Definition(_Model):
    name: str = Field(pattern=NAME)
    version: int = Field(1, ge=1, le=2**31 - 1)
    description: str = ""
    inputs: dict[str, InputSpec] = {}
    outputs: dict[str, Any] = {}
    deadline_ms: int | None = Field(None, ge=1, le=366 * 86_400_000)
    dag: Dag

    def canonical(self) -> dict[str, Any]:
        """Plain JSON data without defaults: parses back to an equal definition."""
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        data["name"], data["version"] = self.name, self.version
        for node, raw in zip(self.dag.nodes, data["dag"]["nodes"], strict=True):
            raw["type"] = node.type
        return data

    def digest(self) -> str:
        """Hex SHA-256 of the canonical form."""
        return ids.digest(msgspec.json.encode(self.canonical(), order="sorted"))

    def prompt_refs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(n.config.prompt_ref for n in self.dag.nodes if isinstance(n, LlmNode)))

    def tool_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(n.config.tool_name for n in self.dag.nodes if isinstance(n, ToolNode)))

    def function_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(n.config.function_name for n in self.dag.nodes if isinstance(n, FunctionNode)))

    def lanes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(n.lane for n in self.dag.nodes))

    def check_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs with defaults filled in; InvalidError names each missing, unknown or mistyped one."""
        if not self.inputs:
            return inputs
        problems = [
            Problem(f"inputs.{name}", "not an input of this workflow", f"its inputs are {', '.join(self.inputs)}")
            for name in inputs
            if name not in self.inputs
        ]
        full: dict[str, Any] = {}
        for name, spec in self.inputs.items():
            if name in inputs:
                full[name] = inputs[name]
                if inputs[name] is None and not spec.required:
                    continue
                if not _is_of_type(inputs[name], spec.type):
                    found = "null" if inputs[name] is None else type(inputs[name]).__name__
                    fix = f'put quotes around it: {name}="..."' if spec.type == "string" else ""
                    problems.append(Problem(f"inputs.{name}", f"must be of type {spec.type}, got {found}", fix))
            elif spec.default is not None or not spec.required:
                full[name] = spec.default
            else:
                problems.append(Problem(f"inputs.{name}", "missing", f"give a value of type {spec.type}"))
        if problems:
            raise InvalidError(
                _headline(tuple(problems), "the inputs don't fit the workflow"), problems=tuple(problems)
            )
        return full


def _is_of_type(value: Any, kind: str) -> bool:
    if kind == "any" or value is None:
        return kind == "any"
    if kind in {"integer", "number"}:
        return not isinstance(value, bool) and isinstance(value, int if kind == "integer" else int | float)
    expected: dict[str, type] = {"string": str, "boolean": bool, "array": list, "object": dict}
    return isinstance(value, expected[kind])


def parse_dict(data: Any, lines: dict[tuple[str | int, ...], int] | None = None) -> Definition:
    """A checked definition from plain data. `lines` maps a path in the data to its line (1-based)."""
    if not isinstance(data, dict):
        raise InvalidError(
            "the definition must be a mapping",
            problems=(Problem(_place((), lines), f"got a {type(data).__name__}", "start with `name:` and `dag:`"),),
        )
    try:
        definition = Definition.model_validate(data)
    except ValidationError as error:
        raw = error.errors(include_url=False)[:50]
        # a list whose items are wrong is also reported as too short: that is no problem of its own
        inner = [item for item in raw if item["loc"][:2] == ("dag", "nodes") and len(item["loc"]) > 2]
        problems = tuple(_explain(i, lines) for i in raw if not (inner and i["type"] == "too_short"))
        raise InvalidError(_headline(problems), problems=problems, kind="invalid_definition") from None
    from agentflow_common.definition_check import check

    found = tuple(Problem(_place(path, lines), message, fix) for path, message, fix in check(definition))
    if found:
        raise InvalidError(_headline(found), problems=found, kind="invalid_definition")
    return definition


def parse_text(text: str, source: str = "definition") -> Definition:
    """A checked definition from YAML or JSON text; places name the line."""
    from agentflow_common.definition_text import load

    data, lines = load(text, source)
    return parse_dict(data, lines)


def load_trusted(data: dict[str, Any]) -> Definition:
    """A definition that had been checked before it was pinned in the log."""
    return Definition.model_validate(data)


def _headline(problems: tuple[Problem, ...], what: str = "the workflow definition is not valid") -> str:
    """Names the first problem: a client that can't read the details still sees a place and a fix."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{what}: {problems[0]}{more}"


def _place(path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int] | None) -> str:
    dotted = ""
    for part in path:
        dotted += f"[{part}]" if isinstance(part, int) else f".{part}" if dotted else str(part)
    if lines is None:
        return dotted or "definition"
    probe = path
    while probe not in lines and probe:
        probe = probe[:-1]
    return f"line {lines.get(probe, 1)}{', ' + dotted if dotted else ''}"


_NODE_TAGS: Final = ("tool", "function", "llm")


def _explain(item: Any, lines: dict[tuple[str | int, ...], int] | None) -> Problem:
    """A pydantic error in the words of a definition's author."""
    loc: tuple[str | int, ...] = tuple(item["loc"])
    # pydantic puts the union's tag into the path of a node: dag.nodes[0].tool.config
    if len(loc) > 3 and loc[:2] == ("dag", "nodes") and loc[3] in _NODE_TAGS:
        loc = (*loc[:3], *loc[4:])
    kind, message = item["type"], str(item["msg"])
    fix = ""
    if kind == "union_tag_invalid":
        message = f"unknown node type {item['ctx']['tag']!r}"
        fix = f"use one of {', '.join(_NODE_TAGS)}"
        loc = (*loc, "type")
    elif kind == "union_tag_not_found":
        message, fix = "the node has no `type`", f"add `type:` with one of {', '.join(_NODE_TAGS)}"
    elif kind == "extra_forbidden":
        message, fix = f"unknown field {loc[-1]!r}", "remove it, or check its spelling and indentation"
    elif kind == "missing":
        message, fix = f"the field {loc[-1]!r} is missing", f"add `{loc[-1]}:`"
    elif kind == "string_pattern_mismatch":
        message = f"{item['input']!r} is not valid here"
        fix = f"must match {item['ctx']['pattern']}"
    elif "input" in item and isinstance(item["input"], str | int | float | bool):
        message = f"{message[:1].lower()}{message[1:]}, got {item['input']!r}"
    if kind == "too_short" and loc == ("dag", "nodes"):
        message, fix = "there are no nodes", "add at least one"
    if kind == "string_type" and isinstance(item["input"], bool):
        fix = "YAML reads yes, no, on and off as booleans: put quotes around it"
    return Problem(_place(loc, lines), message, fix)
