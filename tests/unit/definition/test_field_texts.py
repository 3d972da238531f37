"""The texts below the fields of a model reach its JSON Schema, though the model itself does not hold them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AliasChoices, BaseModel, Field

from agentflow_common.definition.json_schema import of_model
from agentflow_common.field_texts import field_texts


class Animal(BaseModel):
    """This text is the class's own."""

    name: str
    """The animal's name."""

    legs: int = 4
    """How many legs it has.

    More than four are rare.
    """

    colour: str = "grey"
    wild: bool = False
    """It has no owner."""

    KINDS: ClassVar[int] = 2
    """How many kinds of animal there are."""

    def tail(self) -> str:
        """This text is a method's."""
        length: int = 3
        """This text stands below a variable."""
        return "-" * length


class Cat(Animal):
    kind: Literal["cat"] = "cat"
    """It purrs."""

    colour: str = "tabby"
    """The pattern of its coat."""

    wild: bool = True
    weight: int = Field(4, alias="kg")
    """Its weight."""

    age: int = Field(1, validation_alias=AliasChoices("age", "years"))
    """Its age in years."""


class Dog(Animal):
    kind: Literal["dog"] = "dog"
    """It barks."""

    friend: Cat | None = None
    """The cat that it likes."""


class Keeper(BaseModel):
    """Someone who feeds the animals."""


class Zoo(BaseModel):
    star: Annotated[Cat | Dog, Field(discriminator="kind")]
    """The animal that people come to see."""

    guard: Dog
    """The dog at the gate."""

    keeper: Keeper
    """Someone who feeds the animals."""


LEGS = "How many legs it has.\n\nMore than four are rare."


def test_a_field_has_the_text_that_stands_below_it() -> None:
    assert field_texts(Animal) == {"name": "The animal's name.", "legs": LEGS, "wild": "It has no owner."}


def test_a_field_of_a_base_keeps_its_text_until_the_subclass_gives_another() -> None:
    assert field_texts(Cat) == {
        "name": "The animal's name.",
        "legs": LEGS,
        "colour": "The pattern of its coat.",
        "wild": "It has no owner.",
        "kind": "It purrs.",
        "weight": "Its weight.",
        "age": "Its age in years.",
    }


def test_the_model_holds_no_text_and_its_schema_shows_each_by_the_name_that_is_read() -> None:
    assert all(field.description is None for field in Cat.model_fields.values())
    described = {name: field.get("description") for name, field in of_model(Cat)["properties"].items()}
    assert described == {
        "name": "The animal's name.",
        "legs": "How many legs it has. More than four are rare.",
        "colour": "The pattern of its coat.",
        "wild": "It has no owner.",
        "kind": "It purrs.",
        "kg": "Its weight.",
        "age": "Its age in years.",
    }


def test_the_text_of_a_field_stands_beside_the_model_that_it_refers_to() -> None:
    schema = of_model(Zoo)
    assert schema["properties"]["guard"] == {"$ref": "#/$defs/Dog", "description": "The dog at the gate."}
    assert schema["properties"]["keeper"] == {"$ref": "#/$defs/Keeper"}, "the model says the same"
    assert schema["properties"]["star"]["description"] == "The animal that people come to see."
    assert schema["properties"]["star"]["discriminator"]["propertyName"] == "kind"
    assert schema["$defs"]["Dog"]["properties"]["kind"]["description"] == "It barks."
    assert schema["$defs"]["Dog"]["properties"]["friend"]["description"] == "The cat that it likes."
    assert "description" not in schema["$defs"]["Dog"]["properties"]["colour"]
