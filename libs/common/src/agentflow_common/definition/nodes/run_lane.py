"""The keyed lane that a run takes a slot of before its first step."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from agentflow_common.definition.nodes.base import Int, Model

Policy = Literal["queue", "skip", "cancel_running", "cancel_newest", "newest_waits"]


Key = Annotated[str, Field(min_length=1, max_length=256)]


class RunLane(Model):
    """A limit on the runs that go on at a time for each key, and a policy for a run that finds no free slot."""

    key: Key = Field(examples=["{{customer}}"])
    """The name of the lane: a text or a template. Runs of an org with the same key share one lane."""

    limit: Int = Field(1, ge=1, le=10_000)
    """How many runs go on at a time for each key."""

    rate: str | None = Field(
        None,
        pattern=r"^\d{1,6}(\.\d{1,6})?/[smh]$",
        examples=["10/s", "100/m"],
        json_schema_extra={"patternErrorMessage": "write for example 10/s, 100/m or 1000/h"},
    )
    """How many runs begin in a second, minute or hour for each key."""

    policy: Policy = "queue"
    """What follows if no slot is free. `queue`: the run waits. `skip` and `cancel_newest`: it is
    cancelled. `cancel_running`: it cancels the run that holds a slot, and waits for its end.
    `newest_waits`: it waits, and a run that waited before it is cancelled.
    """


def _short(value: Any) -> Any:
    return {"key": value} if isinstance(value, str) else value


RunLaneField = Annotated[RunLane | None, BeforeValidator(_short, json_schema_input_type=Key | RunLane | None)]
