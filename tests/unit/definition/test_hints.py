"""The words that every door has for a value that a model refuses."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from agentflow_common import hints, settings


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Form(BaseModel):
    mode: Literal["Skip", "allow"] = "allow"
    colour: Colour = Colour.RED
    count: int = Field(1, ge=0, le=10_000)
    name: str = ""

    @field_validator("name")
    @classmethod
    def _named(cls, value: str) -> str:
        if value == "x":
            raise ValueError("'x' is taken")
        return value


def refused(**values: Any) -> Any:
    with pytest.raises(ValidationError) as caught:
        Form(**values)
    return caught.value.errors()[0]


@pytest.mark.parametrize(
    ("values", "message", "meant"),
    [
        ({"mode": "skp"}, "use 'Skip' or 'allow'", "did you mean 'Skip'?"),
        ({"mode": "SKIP"}, "use 'Skip' or 'allow'", "did you mean 'Skip'?"),
        ({"mode": "never"}, "use 'Skip' or 'allow'", ""),
        ({"mode": 3}, "use 'Skip' or 'allow'", ""),
        ({"colour": "gren"}, "use 'red' or 'green'", "did you mean 'green'?"),
        ({"count": 20_000}, "must be at most 10,000", ""),
        ({"count": "many"}, "write an integer", ""),
        ({"name": "x"}, "'x' is taken", ""),
    ],
)
def test_a_refused_value_is_explained_without_pydantic_s_words(
    values: dict[str, Any], message: str, meant: str
) -> None:
    item = refused(**values)
    assert (hints.plain(item), hints.meant(item)) == (message, meant)


def test_a_word_of_another_language_is_compared_as_the_word_that_it_stands_for() -> None:
    assert hints.meant(refused(colour="verde"), "green") == "did you mean 'green'?"


def test_a_wrong_choice_in_a_setting_says_which_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(settings.Settings):
        mode: Literal["fast", "safe"] = "safe"

    monkeypatch.setenv("MODE", "fsat")
    with pytest.raises(SystemExit) as caught:
        settings.load(Own)
    wrong = "  MODE: use 'fast' or 'safe' (did you mean 'fast'?)"
    assert str(caught.value) == f"can't start, these settings are wrong:\n{wrong}"
