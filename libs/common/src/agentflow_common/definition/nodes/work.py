"""Calls of a tool, a function, a model or another workflow; by a node, as a body, as a compensation."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.config import JsonDict

from agentflow_common.definition.nodes.base import MODEL_REF, PROMPT_REF, WORKFLOW_REF, FloatOrNone, IntOrNone, Model
from agentflow_common.definition.nodes.policy import Retry
from agentflow_common.definition.nodes.run_lane import RunLaneField
from agentflow_common.events import PROMPT


class Inputs(Model):
    inputs: dict[str, Any] = Field({}, examples=[{"text": "read.output.text"}])
    """The arguments, by name. A value is plain, a reference (`read.output.text`) or a template (`{{document}}`)."""


class Arguments(Inputs):
    state_args: bool = False
    """In a graph: gives the step the shared state. A tool or function gets the keys that it has
    parameters for, or all as `state`; a prompt or workflow gets each key as an input.
    """


class ToolWork(Arguments):
    """Calls a tool: it reads, writes, books, sends."""

    tool_name: str = Field(min_length=1, max_length=128, examples=["file.read", "http.get"])
    """The tool. `agentctl tools list` shows what the workers offer."""

    tool_args: dict[str, Any] = Field({})
    """The arguments, by name. They win over `inputs`."""

    reveal: tuple[str, ...] = Field((), examples=[["email"]])
    """Arguments that the tool gets as originals instead of vault tokens. Each access is audited."""


class FunctionWork(Arguments):
    """Calls a function: it computes and touches nothing, so it may be repeated."""

    function_name: str = Field(min_length=1, max_length=128, examples=["text_stats"])
    """The function. `agentctl tools list` shows what the workers offer."""

    function_args: dict[str, Any] = Field({})
    """The arguments, by name. They win over `inputs`."""


_ONE_PROMPT: Final[JsonDict] = {
    "oneOf": [
        {"required": [name], "properties": {name: {"type": "string", "description": meaning}}}
        for name, meaning in (("prompt_ref", "A registered prompt."), (PROMPT, "The text of a prompt."))
    ]
}
_NO_NAME: Final[JsonDict] = {"not": {"type": "string", "pattern": PROMPT_REF}}


class LlmWork(Arguments):
    """Asks a model with a registered prompt, or with a text."""

    model_config = ConfigDict(json_schema_extra=_ONE_PROMPT)

    prompt_ref: str | None = Field(None, pattern=PROMPT_REF, examples=["summarizer", "summarizer@production"])
    """The registered prompt: `name`, `name@version` or `name@label`. Give it or `prompt`."""

    prompt: str | None = Field(None, min_length=1, examples=["Say hello to {{name}}"], json_schema_extra=_NO_NAME)
    """The text that the model is asked: a template that also reads the `inputs` by their names."""

    model: str | None = Field(None, pattern=MODEL_REF, examples=["local/extractive-1"])
    """Exactly this model, as `provider/model`. The same as `policy.model`."""

    output: Literal["text", "json"] = "text"
    """The form of the answer; `json` is parsed and checked."""

    max_output_tokens: IntOrNone = Field(None, ge=1, le=1_000_000, examples=[2000])
    """The longest answer, in model tokens."""

    temperature: FloatOrNone = Field(None, ge=0, le=2)
    """How varied the answer is; 0 gives the likeliest one."""

    @field_validator(PROMPT)
    @classmethod
    def _no_name(cls, text: str | None) -> str | None:
        if text is not None and re.match(PROMPT_REF, text):
            raise ValueError(f"{text!r} is a name and not a text: write `prompt_ref: {text}` for a registered prompt")
        return text

    @model_validator(mode="after")
    def _one_prompt(self) -> Self:
        if self.prompt is None and self.prompt_ref is None:
            raise ValueError("there is no prompt: add `prompt_ref:` with a registered one, or `prompt:` with its text")
        if self.prompt is not None and self.prompt_ref is not None:
            raise ValueError("`prompt` and `prompt_ref` are both given: keep one")
        if self.prompt is not None and PROMPT in self.inputs:
            raise ValueError(f"an input is called {PROMPT!r}, as the text itself: rename it")
        return self


class SubworkflowWork(Arguments):
    """Runs a registered workflow as a run of its own."""

    workflow: str = Field(pattern=WORKFLOW_REF, examples=["one_customer@prod"])
    """The workflow: `name`, `name@version` or `name@label`. Pinned when the run is submitted."""

    detached: bool = False
    """The step completes as soon as the run is started, with `{run: ID}`. The run goes on by itself: it
    outlives this one, is not cancelled with it, and takes a slot of its own run lane.
    """

    run_lane: RunLaneField = Field(None, examples=["{{customer}}", {"key": "{{customer}}", "limit": 2}])
    """A keyed lane that the started run takes a slot of, beside the one that its own definition may name."""


class ToolBody(Model):
    type: Literal["tool"]
    """Calls a tool."""

    config: ToolWork
    """The tool and its arguments."""


class FunctionBody(Model):
    type: Literal["function"]
    """Calls a function."""

    config: FunctionWork
    """The function and its arguments."""


class LlmBody(Model):
    type: Literal["llm"]
    """Asks a model."""

    config: LlmWork
    """The prompt and its inputs."""


class SubworkflowBody(Model):
    type: Literal["subworkflow"]
    """Runs another workflow."""

    config: SubworkflowWork
    """The workflow and its inputs."""


Body = Annotated[ToolBody | FunctionBody | LlmBody | SubworkflowBody, Field(discriminator="type")]


class ToolCompensation(ToolBody):
    """Undoes a step by a tool. Its arguments may use `output`, and `item` and `index` of a child."""

    retry: Retry = Retry(max_attempts=5)
    """How often undoing is tried again; five attempts if unset."""


class FunctionCompensation(FunctionBody):
    """Undoes a step by a function. Its arguments may use `output`, and `item` and `index` of a child."""

    retry: Retry = Retry(max_attempts=5)
    """How often undoing is tried again; five attempts if unset."""


Compensation = Annotated[ToolCompensation | FunctionCompensation, Field(discriminator="type")]
