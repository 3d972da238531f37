"""The `config` of each type of node."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from agentflow_common.definition.durations import Duration
from agentflow_common.definition.nodes.base import (
    ITEMS_MAX,
    ITERATIONS_MAX,
    NODE_ID,
    FloatOrNone,
    Int,
    IntOrNone,
    IntOrText,
    Model,
    NodeId,
)
from agentflow_common.definition.nodes.work import (
    Body,
    FunctionBody,
    FunctionWork,
    Inputs,
    LlmBody,
    LlmWork,
    SubworkflowBody,
    SubworkflowWork,
    ToolBody,
    ToolWork,
)


class Conditional(Model):
    condition: str | None = Field(None, examples=["judge.output.words > 10"])
    """A CEL condition; the step is skipped unless it holds. The same as the node's `condition`."""


class Parallel(Conditional):
    parallel: bool = False
    """Makes one child for each item of an input that is a list."""

    for_each: str | None = None
    """With `parallel`: the input that is the list. Needed if several inputs are lists."""


class ToolConfig(Parallel, ToolWork):
    """The tool and its arguments."""


class FunctionConfig(Parallel, FunctionWork):
    """The function and its arguments."""


class LlmConfig(Parallel, LlmWork):
    """The prompt and its inputs."""


class SubworkflowConfig(Parallel, SubworkflowWork):
    """The workflow and its inputs."""


class Range(Model):
    """Whole numbers, as in Python: from `start` to before `stop`."""

    start: IntOrText = Field(0, examples=[1])
    """The first number, or a template that gives it."""

    stop: IntOrText = Field(examples=["{{pages}}"])
    """The number before which the range ends, or a template that gives it."""

    step: IntOrText = Field(1, examples=[10, -1])
    """The distance between two numbers, or a template that gives it. It may be negative."""


class MapWork(Model):
    """Runs `body` once for each item of `over`, `zip` or `range`. The output is the list of results in their order."""

    over: Any = Field(None, examples=["{{pages}}", "split.output.chunks"])
    """The list, or a reference or template that gives it. The items of an object are `{key, value}`, by key."""

    zip: dict[NodeId, Any] | None = Field(
        None, min_length=1, max_length=64, examples=[{"page": "{{pages}}", "title": "{{titles}}"}]
    )
    """Lists of one length, by name. Each item is an object with an item of every list."""

    range: Range | None = Field(None, examples=[{"start": 1, "stop": 5}])
    """The items are numbers."""

    batches: IntOrNone = Field(None, ge=1, le=ITEMS_MAX, examples=[50])
    """Each item is a list of up to this many items."""

    item_condition: str | None = Field(None, examples=["item.size > 0"])
    """A CEL condition on `item` and `index`. An item for which it does not hold is skipped; its result is null."""

    body: ItemBody
    """What runs for each item. Its inputs may use `{{item}}` and `{{index}}`. It may be a map: each item
    has a list of results then.
    """

    item: NodeId = Field("item", examples=["page"])
    """The name of the item in the body's templates."""

    index: NodeId = Field("index", examples=["row_number"])
    """The name of the item's number in the body's templates, from 0."""

    concurrency: IntOrNone = Field(None, ge=1, le=10_000)
    """How many items run at a time; without it as many as workers are free."""

    on_item_failure: Literal["fail", "continue"] = "fail"
    """If an item failed for good: end the step, or put null in its place."""

    max_failures: FloatOrNone = Field(None, ge=0, examples=[3, 0.1])
    """With `on_item_failure: continue`: how many items may fail; below 1 a fraction of the items."""

    result: Literal["list", "object"] = "list"
    """For an `over` that is an object: `object` gives an object with the result of each key."""


class MapBody(Model):
    type: Literal["map"]
    """Runs a body for each item of a list."""

    config: MapWork
    """The list, the body and its limits."""


ItemBody = Annotated[
    ToolBody | FunctionBody | LlmBody | SubworkflowBody | MapBody, Field(discriminator="type")
]  # of a map
MapWork.model_rebuild()


class MapConfig(MapWork, Conditional):
    """The list, the body and its limits."""


class LoopConfig(Conditional):
    """Runs `body` again and again. The output is that of the last iteration."""

    body: Body
    """What each iteration runs. Its inputs may use `{{previous}}` and `{{iteration}}`."""

    until: str | None = Field(None, examples=["previous.score >= 0.9"])
    """A CEL condition that ends the loop, tested after each iteration. Give either `until` or `while`."""

    while_: str | None = Field(None, alias="while", examples=["iteration < 4"])
    """A CEL condition that continues the loop, tested before each iteration."""

    max_iterations: Int = Field(ge=1, le=ITERATIONS_MAX)
    """The loop ends after this many iterations."""

    on_max: Literal["complete", "fail"] = "complete"
    """What follows when `max_iterations` was not enough."""

    delay_ms: Duration | None = Field(None, examples=["10s"])
    """Time between two iterations."""


class WaitConfig(Conditional):
    """Waits for a duration, or until a time. Give one of them."""

    duration: IntOrText | None = Field(None, examples=["24h", "{{cool_off}}"])
    """How long: a text such as `90s`, a number of ms, or a template that gives one."""

    until: IntOrText | None = Field(None, examples=["2030-01-31T09:00:00+01:00"])
    """Until when: RFC 3339 (UTC without an offset), ms since 1970, or a template that gives one."""


class SignalConfig(Conditional):
    """Waits for a signal. Its payload is the output. A signal that comes early is kept."""

    signal: str = Field(pattern=NODE_ID, examples=["delivered"])
    """The signal's name."""

    timeout_ms: Duration | None = Field(None, examples=["30d"])
    """How long to wait; without it the step waits forever."""

    on_timeout: Literal["fail", "continue"] = "fail"
    """After `timeout_ms`: fail the step, or continue with null."""


class ApprovalConfig(Conditional):
    """Waits until `required` different people approve, or one rejects. The output is `{approved, decisions}`."""

    message: str = Field("", examples=["Pay {{amount}} EUR?"])
    """What the people read."""

    approvers: tuple[str, ...] = Field((), max_length=100, examples=[["ana", "bo"]])
    """Names of people or API keys that may answer; empty: anyone with the permission `write`."""

    required: Int = Field(1, ge=1, le=20)
    """How many different people must approve."""

    expires_ms: Duration | None = Field(None, examples=["3d"])
    """How long to wait; without it the approval never expires."""

    on_expire: Literal["fail", "approve", "reject"] = "fail"
    """After `expires_ms`: fail the step, or take it as an approval or a rejection."""

    on_reject: Literal["fail", "continue"] = "fail"
    """After a rejection: fail the step, or continue; the output says `approved: false`."""

    escalate_ms: Duration | None = Field(None, examples=["1d"])
    """After this long the people in `escalate_to` may answer too."""

    escalate_to: tuple[str, ...] = Field((), max_length=100, examples=[["boss"]])
    """Who may answer after `escalate_ms`."""


class ContinueConfig(Conditional, Inputs):
    """Ends the run and starts a new one of the same definition with these inputs, in one append."""


class EndError(Model):
    """Why the run failed or was cancelled."""

    type: str = Field("ended", pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,63}$", examples=["out_of_stock"])
    """The error's type. A parent may name it in its `retry`."""

    message: str = Field("", examples=["{{item}} is sold out"])
    """What people read."""


class EndConfig(Conditional):
    """Ends the run early. What runs is cancelled, and nothing else begins."""

    status: Literal["completed", "failed", "cancelled"] = "completed"
    """How the run ends. Compensations run unless it completes."""

    output: Any = Field(None, examples=[{"answer": "check.output.answer"}])
    """The run's output if it completes; without it the `outputs` of the workflow."""

    error: EndError = EndError()
    """Why the run fails or is cancelled."""
