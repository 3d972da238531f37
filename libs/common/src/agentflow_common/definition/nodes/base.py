"""The base of every model of a definition, and the names and bounds that they share."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from agentflow_common.definition.durations import number, whole

NODE_ID: Final = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"
PROMPT_REF: Final = r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}(@[A-Za-z0-9_.-]{1,64})?$"
MODEL_REF: Final = r"^[^/\s]+/\S+$"
WORKFLOW_REF: Final = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}(@[A-Za-z0-9_.-]{1,64})?$"
_NAME_WORDS: Final = "1 to 64 letters (a to z), digits, '_' or '-', and no digit first"
PATTERN_WORDS: Final = {  # what an author reads of a pattern
    NODE_ID: f"write {_NAME_WORDS}",
    PROMPT_REF: "write the name of a prompt (letters, digits, '_', '.' or '-'), or NAME@VERSION, or NAME@LABEL",
    MODEL_REF: "write PROVIDER/MODEL, such as local/extractive-1 or anthropic/claude-sonnet-4-5",
    WORKFLOW_REF: f"write the name of a workflow ({_NAME_WORDS}), or NAME@VERSION, or NAME@LABEL",
}
NODES_MAX: Final = 20_000
ITERATIONS_MAX: Final = 1_000
ITEMS_MAX: Final = 10_000  # children of one step, and of all maps inside of one map together
MAP_LEVELS_MAX: Final = 4  # a map, a map in it, ...
SUBWORKFLOW_DEPTH_MAX: Final = 8  # levels of runs below the submitted one, unless the setting of this name says more

# What editors say when the pattern does not match
_FORM: Final = {"patternErrorMessage": "letters, digits, `_` and `-`, at most 64, the first one no digit"}

NodeId = Annotated[str, Field(pattern=NODE_ID, json_schema_extra=_FORM)]
# The validator stands around a union: a bound of the field (`ge`) would not reach the number behind it otherwise
Int = Annotated[int, BeforeValidator(whole)]
IntOrNone = Annotated[int | None, BeforeValidator(whole)]
IntOrText = Annotated[int | str, BeforeValidator(whole)]
Float = Annotated[float, BeforeValidator(number)]
FloatOrNone = Annotated[float | None, BeforeValidator(number)]
Number = Annotated[int | float, BeforeValidator(number)]


class Model(BaseModel):
    """A part of a definition. A text below a field is its description, which editors and docs/schema show."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True, str_max_length=262_144)
