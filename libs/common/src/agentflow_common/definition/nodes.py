"""The nodes of a workflow definition: what each type takes. See definition/model.py for the whole."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

NODE_ID: Final = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"
NODES_MAX: Final = 20_000
ITERATIONS_MAX: Final = 1_000
DURATION_MS_MAX: Final = 366 * 86_400_000
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

NodeId = Annotated[str, Field(pattern=NODE_ID)]


def duration_ms(value: Any) -> Any:
    """`1h30m`, `90s`, `500ms` as milliseconds; ValueError for another text; anything else is left to the schema."""
    if not isinstance(value, str):
        return value
    parts = _DURATION.findall(value)
    if not parts or "".join(n + u for n, u in parts) != value:
        raise ValueError(f"{value!r} is not a duration: write for example 90s, 1h30m, 2d or a number of ms")
    return int(sum(float(number) * _UNIT_MS[unit] for number, unit in parts))


Duration = Annotated[int, BeforeValidator(duration_ms), Field(ge=1, le=DURATION_MS_MAX)]


def _writes(value: Any) -> Any:
    parts = value.items() if isinstance(value, dict) else [("", value)] if value else []
    if value is not None and not all(isinstance(name, str) and isinstance(part, str) and part for name, part in parts):
        raise ValueError("give a key of the state, or parts of the output by key: {score: output.score}")
    return value


Writes = Annotated[Any, BeforeValidator(_writes)]  # str | dict[str, str] | None


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True, str_max_length=262_144)


class Retry(Model):
    """max_attempts counts the first one. Delays in ms; jitter: fraction of the delay, derived from the event.
    retryable, non_retryable: types of errors; an exception's base classes are meant too."""

    max_attempts: int = Field(3, ge=1, le=100)
    backoff: Literal["fixed", "linear", "exponential"] = "exponential"
    initial_ms: Annotated[int, BeforeValidator(duration_ms), Field(ge=0, le=3_600_000)] = 200
    max_ms: Annotated[int, BeforeValidator(duration_ms), Field(ge=0, le=86_400_000)] = 30_000
    jitter: float = Field(0.2, ge=0, le=1)
    retryable: tuple[str, ...] = ()
    non_retryable: tuple[str, ...] = ()


class Policy(Model):
    """timeout_ms bounds one attempt, total_timeout_ms all of them; timers enforce both. sla_ms guides routing.

    heartbeat_ms: an attempt that is silent for so long is lost. on_unknown: what follows when a worker vanished in the
    middle of a step that must not silently be repeated. By default a model call is made again (a new attempt, on the
    record) and a non-idempotent tool fails the run; `ask` waits for a person's answer.
    on_truncated: what follows when the limit on its length cut off a model's answer, `fail` by default.
    """

    quality: Literal["Gold", "Silver", "Bronze"] | None = None
    sla_ms: Annotated[int, BeforeValidator(duration_ms), Field(ge=1)] | None = None
    timeout_ms: Duration | None = None
    total_timeout_ms: Duration | None = None
    heartbeat_ms: Duration | None = None
    retry: Retry = Retry()
    on_failure: Literal["fail", "continue"] = "fail"
    on_unknown: Literal["fail", "retry", "ask"] | None = None
    on_truncated: Literal["accept", "fail", "continue"] | None = None
    cache: bool = False
    model: str | None = Field(None, pattern=r"^[^/\s]+/\S+$")


class _Inputs(Model):
    inputs: dict[str, Any] = {}


class _Work(_Inputs):
    """state_args: in a graph, gives it the shared state. A tool or function gets the keys that it has parameters for,
    or all as its parameter `state`; a model's prompt and a subworkflow get each key as an input."""

    state_args: bool = False


class ToolWork(_Work):
    tool_name: str = Field(min_length=1, max_length=128)
    tool_args: dict[str, Any] = {}
    reveal: tuple[str, ...] = ()


class FunctionWork(_Work):
    function_name: str = Field(min_length=1, max_length=128)
    function_args: dict[str, Any] = {}


class LlmWork(_Work):
    prompt_ref: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}(@[A-Za-z0-9_.-]{1,64})?$")
    output: Literal["text", "json"] = "text"
    max_output_tokens: int | None = Field(None, ge=1, le=1_000_000)
    temperature: float | None = Field(None, ge=0, le=2)


class SubworkflowWork(_Work):
    """workflow: a registered `name`, `name@version` or `name@label`, pinned when the run is submitted."""

    workflow: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}(@[A-Za-z0-9_.-]{1,64})?$")


class _ToolBody(Model):
    type: Literal["tool"]
    config: ToolWork


class _FunctionBody(Model):
    type: Literal["function"]
    config: FunctionWork


class _LlmBody(Model):
    type: Literal["llm"]
    config: LlmWork


class _SubworkflowBody(Model):
    type: Literal["subworkflow"]
    config: SubworkflowWork


Body = Annotated[_ToolBody | _FunctionBody | _LlmBody | _SubworkflowBody, Field(discriminator="type")]


class ToolCompensation(_ToolBody):
    """Its inputs may speak of `output`, what the step gave, and of the `item` and `index` of a child."""

    retry: Retry = Retry(max_attempts=5)


class FunctionCompensation(_FunctionBody):
    retry: Retry = Retry(max_attempts=5)


Compensation = Annotated[ToolCompensation | FunctionCompensation, Field(discriminator="type")]


class _Condition(Model):
    condition: str | None = None


class _Parallel(_Condition):
    """parallel: one child per item of the input list that `for_each` names (or the only list)."""

    parallel: bool = False
    for_each: str | None = None


class ToolConfig(_Parallel, ToolWork):
    pass


class FunctionConfig(_Parallel, FunctionWork):
    pass


class LlmConfig(_Parallel, LlmWork):
    pass


class SubworkflowConfig(_Parallel, SubworkflowWork):
    pass


class MapConfig(_Condition):
    """Runs `body` once for each item of `over`, at most `concurrency` at a time; the output is the list of results in
    the items' order. `{{item}}` (or the name given) and `{{index}}` stand in the body's inputs.

    on_item_failure: `fail` ends the step at the first item that failed for good; `continue` puts null in its place,
    for at most max_failures items (a number, or a fraction of the items below 1).
    """

    over: Any
    body: Body
    item: NodeId = "item"
    concurrency: int | None = Field(None, ge=1, le=10_000)
    on_item_failure: Literal["fail", "continue"] = "fail"
    max_failures: float | None = Field(None, ge=0)


class LoopConfig(_Condition):
    """Runs `body` again and again: `while` is asked before each iteration, `until` after it. Both see `iteration`
    (from 1) and `previous` (the last output, null before the first); so do the body's inputs. The output is the last
    iteration's. on_max: what follows when max_iterations did not suffice."""

    body: Body
    until: str | None = None
    while_: str | None = Field(None, alias="while")
    max_iterations: int = Field(ge=1, le=ITERATIONS_MAX)
    on_max: Literal["complete", "fail"] = "complete"
    delay_ms: Duration | None = None


class WaitConfig(_Condition):
    """For a duration, or until a time: RFC 3339 or ms since the epoch, a template may give either."""

    duration: int | str | None = None
    until: int | str | None = None


class SignalConfig(_Condition):
    """Waits for a signal of this name; its payload is the output."""

    signal: str = Field(pattern=NODE_ID)
    timeout_ms: Duration | None = None
    on_timeout: Literal["fail", "continue"] = "fail"


class ApprovalConfig(_Condition):
    """Waits until `required` different people approve, or one rejects. approvers: names of API keys or people; empty:
    anyone with write permission. Output: `{approved, decisions: [{by, decision, comment, data, at}]}`. on_expire:
    `reject` is a rejection, so `on_reject` says what follows."""

    message: str = ""
    approvers: tuple[str, ...] = Field((), max_length=100)
    required: int = Field(1, ge=1, le=20)
    expires_ms: Duration | None = None
    on_expire: Literal["fail", "approve", "reject"] = "fail"
    on_reject: Literal["fail", "continue"] = "fail"
    escalate_ms: Duration | None = None
    escalate_to: tuple[str, ...] = Field((), max_length=100)


class ContinueConfig(_Condition, _Inputs):
    """Ends the run and starts a new one of the same definition with these inputs, in one append."""


class _Node(Model):
    """lane: a worker pool, or, as a template such as `{{org}}-{{customer}}`, a key of which at most `lane_limit`
    attempts run at a time and `lane_rate` (`10/s`, `100/m`) begin. pool: the worker pool of a keyed lane.
    writes: in a graph, where the output goes in the shared state: a key for all of it, or parts by key
    (`{score: output.score}`); by default an object's fields are the keys."""

    id: NodeId
    name: str = ""
    description: str = ""
    policy: Policy = Policy()
    condition: str | None = None
    lane: str = Field("default", pattern=r"^([A-Za-z0-9_-]{1,64}|[^{]{0,64}\{\{.{1,256})$")
    lane_limit: int = Field(1, ge=1, le=10_000)
    lane_rate: str | None = Field(None, pattern=r"^\d{1,6}(\.\d{1,6})?/[smh]$")
    pool: str = Field("default", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    priority: int | None = Field(None, ge=-100, le=100)
    depends_on: tuple[NodeId, ...] = ()
    compensate_with: Compensation | None = None
    writes: Writes = None


class ToolNode(_Node):
    type: Literal["tool"]
    config: ToolConfig


class FunctionNode(_Node):
    type: Literal["function"]
    config: FunctionConfig


class LlmNode(_Node):
    type: Literal["llm"]
    config: LlmConfig


class SubworkflowNode(_Node):
    type: Literal["subworkflow"]
    config: SubworkflowConfig


class MapNode(_Node):
    type: Literal["map"]
    config: MapConfig


class LoopNode(_Node):
    type: Literal["loop"]
    config: LoopConfig


class WaitNode(_Node):
    type: Literal["wait"]
    config: WaitConfig


class SignalNode(_Node):
    type: Literal["signal"]
    config: SignalConfig


class ApprovalNode(_Node):
    type: Literal["approval"]
    config: ApprovalConfig = ApprovalConfig()


class ContinueNode(_Node):
    type: Literal["continue_as_new"]
    config: ContinueConfig = ContinueConfig()


AnyNode = (
    ToolNode
    | FunctionNode
    | LlmNode
    | SubworkflowNode
    | MapNode
    | LoopNode
    | WaitNode
    | SignalNode
    | ApprovalNode
    | ContinueNode
)
Node = Annotated[AnyNode, Field(discriminator="type")]
NODE_TYPES: Final = (
    "tool", "function", "llm", "subworkflow", "map", "loop", "wait", "signal", "approval", "continue_as_new",
)  # fmt: skip

BODY_TYPES: Final = NODE_TYPES[:4]
UNDO_TYPES: Final = NODE_TYPES[:2]


class Work(Model):
    """Something that a node has done: by itself, by its body, or to undo it. path: its config's place in the node."""

    type: str
    config: Any
    path: tuple[str, ...]


def works(node: AnyNode) -> list[Work]:
    """The node's own work or its body's, then its compensation's."""
    found: list[Work] = []
    if isinstance(node, MapNode | LoopNode):
        body = node.config.body
        found.append(Work(type=body.type, config=body.config, path=("config", "body", "config")))
    elif isinstance(node, ToolNode | FunctionNode | LlmNode | SubworkflowNode):
        found.append(Work(type=node.type, config=node.config, path=("config",)))
    undo = node.compensate_with
    if undo is not None:
        found.append(Work(type=undo.type, config=undo.config, path=("compensate_with", "config")))
    return found


def arguments(work: Work) -> dict[str, Any]:
    """A work's arguments: `inputs` together with `tool_args` or `function_args`, which win."""
    config = work.config
    extra: dict[str, Any] = {}
    if work.type == "tool":
        extra = config.tool_args
    elif work.type == "function":
        extra = config.function_args
    return {**config.inputs, **extra}


def all_inputs(node: AnyNode) -> dict[str, Any]:
    """The values that are resolved when the node begins, by name. A compensation's are resolved when it begins."""
    config: Any = node.config
    if isinstance(node, MapNode | LoopNode):
        found = arguments(works(node)[0])
        return {**found, "over": config.over} if isinstance(node, MapNode) else found
    if isinstance(node, WaitNode):
        return {name: value for name in ("duration", "until") if (value := getattr(config, name)) is not None}
    if isinstance(node, ApprovalNode):
        return {"message": config.message, "approvers": list(config.approvers), "escalate_to": list(config.escalate_to)}
    if isinstance(node, SignalNode):
        return {}
    if isinstance(node, ContinueNode):
        return dict(config.inputs)
    return arguments(works(node)[0])


def local_names(node: AnyNode) -> frozenset[str]:
    """Names that mean something inside this node's templates alone."""
    if isinstance(node, MapNode):
        return frozenset({node.config.item, "index"})
    if isinstance(node, LoopNode):
        return frozenset({"iteration", "previous"})
    return frozenset()
