"""Numbers of definitions and schedules: `true` is not a number, although it is an `int` in Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from agentflow_common.definition import model as definitions
from agentflow_common.definition.nodes import base
from agentflow_common.errors import InvalidError
from agentflow_common.schedules import sources, spec


def models(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for below in kind.__subclasses__():
        yield below
        yield from models(below)


def taken(kind: type[BaseModel], name: str, value: Any) -> Any:
    """What the field makes of a value; None if it refuses it."""
    field = kind.model_fields[name]
    whole: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(whole)
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None


FIELDS = sorted(
    {
        (kind, name)
        for parent in (base.Model, sources.Model)
        for kind in models(parent)
        if kind.__module__.startswith(("agentflow_common.definition", "agentflow_common.schedules"))
        for name in kind.model_fields
    },
    key=lambda field: (field[0].__module__, field[0].__qualname__, field[1]),
)
NUMBERS = [(kind, name) for kind, name in FIELDS if taken(kind, name, 1_000) == 1_000 or taken(kind, name, 1) == 1]


def test_the_numbers_are_found() -> None:
    assert definitions.Definition in {kind for kind, _ in NUMBERS}
    assert {"stop", "duration", "max_attempts", "timeout_ms", "limit", "buffer_max", "min_length", "join"} <= {
        name for _, name in NUMBERS
    }


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=lambda value: getattr(value, "__name__", value))
def test_true_is_no_number(kind: type[BaseModel], name: str) -> None:
    found = taken(kind, name, True)
    assert found is None or found is True  # True stays what it is where any value may stand


def test_a_schedule_says_what_to_write() -> None:
    with pytest.raises(InvalidError) as caught:
        spec.parse({"name": "n", "workflow": "w", "cron": "@every 1h", "priority": True, "jitter": True})
    assert sorted(problem.place for problem in caught.value.problems) == ["jitter", "priority"]
    assert all("integer" in str(problem) for problem in caught.value.problems)
