"""Answers as models. A field of a model is the field of the same name in the message, converted by both types.

A Struct becomes a dict and a Value any JSON value. A repeated field becomes a tuple, a map becomes a dict. An
enumeration becomes the member of the model's own one. A field that is absent becomes None.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message_factory import GetMessageClass

from agentflow_sdk.convert.json_values import from_struct, from_value
from agentflow_sdk.models.records import Page

T = TypeVar("T")
_Read = Callable[[Any], Any]  # from the value of a field to the value of the model's


class _Plan(NamedTuple):
    """How a model is made of a message. What the message does not set costs nothing."""

    unset: dict[str, Any]  # the values of fields that are not set, by the model's names
    made: dict[str, Callable[[], Any]]  # the same, where each model needs a value of its own
    reads: dict[int, tuple[str, _Read]]  # by the field's number: the model's name, and how the value is read


def record(kind: type[T], message: Any, **given: Any) -> T:
    """Returns a model of a message. given: the fields of the model that the message lacks."""
    cached: Any = kind
    unset, made, reads = _plan(cached, message.DESCRIPTOR)
    values = unset | given
    for name, make in made.items():
        values[name] = make()
    for field, value in message.ListFields():
        if (found := reads.get(field.number)) is not None:
            name, read = found
            values[name] = read(value)
    return kind(**values)


def reader(kind: type[T], field: str = "") -> Callable[[Any], T]:
    """Returns a function that makes a model of an answer. field: the field of the answer that has it."""
    if not field:
        return lambda reply: record(kind, reply)

    cached: Any = kind

    def read(reply: Any) -> T:
        found: T = _read_field(reply.DESCRIPTOR, field, cached)(reply)
        return found

    return read


def page_reader(kind: type[T], field: str) -> Callable[[Any], Page[T]]:
    """Returns a function that makes a page of an answer. field: the repeated field that has the items."""
    return lambda reply: Page((record(kind, item) for item in getattr(reply, field)), reply.next_page_token)


@cache
def _read_field(descriptor: Any, field: str, kind: Any) -> _Read:
    """Returns the function that reads a field of a whole message."""
    found = descriptor.fields_by_name[field]
    read, unset = _read(found, kind), _unset(found, kind)

    def read_field(message: Any) -> Any:
        if found.has_presence and not message.HasField(field):
            return unset()
        return read(getattr(message, field))

    return read_field


@cache
def _plan(kind: Any, descriptor: Any) -> _Plan:
    plan = _Plan({}, {}, {})
    for name, hint in typing.get_type_hints(kind).items():
        if (field := descriptor.fields_by_name.get(name)) is None:
            continue
        plan.reads[field.number] = (name, _read(field, hint))
        make = _unset(field, hint)
        value = make()
        if value is None or isinstance(value, str | int | float | bytes | tuple):
            plan.unset[name] = value
        else:
            plan.made[name] = make
    return plan


def _unset(field: Any, hint: Any) -> Callable[[], Any]:
    """Returns a function that makes the value of a field that is not set. hint: the type that the model wants."""
    if field.has_presence and (type(None) in (hint, *typing.get_args(hint)) or hint is Any):
        return lambda: None
    read = _read(field, hint)
    if field.message_type is not None and not field.is_repeated:
        empty = GetMessageClass(field.message_type)
        return lambda: read(empty())
    return lambda: read(() if field.is_repeated else field.default_value)


def _read(field: Any, hint: Any) -> _Read:
    """Returns the function that reads a value of the field. hint: the type that the model wants."""
    if field.message_type is not None:
        return _read_message(field, hint)
    if field.enum_type is not None:
        return _read_member(field.enum_type, hint)
    return tuple if field.is_repeated else _same


def _same(value: Any) -> Any:
    return value


def _read_message(field: Any, hint: Any) -> _Read:
    if field.message_type.full_name == "google.protobuf.Struct":
        return from_struct
    if field.message_type.full_name == "google.protobuf.Value":
        return from_value
    if field.message_type.GetOptions().map_entry:
        return dict
    kind = next(iter(typing.get_args(hint)), hint)
    if field.is_repeated:
        return lambda items: tuple(record(kind, item) for item in items)
    return lambda message: record(kind, message)


def _read_member(enum: Any, kind: Any) -> _Read:
    """Reads a number that this SDK does not know as `UNSPECIFIED`, or as the last member if there is none such."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    names = {value.number: value.name.removeprefix(prefix) for value in enum.values}
    members = {number: kind[name] for number, name in names.items() if name in kind.__members__}
    unknown = members.get(0, list(kind)[-1])
    return lambda number: members.get(number, unknown)
