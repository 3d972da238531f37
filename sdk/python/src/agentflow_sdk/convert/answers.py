"""Answers as models. A field of a model is the field of the same name in the message, converted by both types.

A Struct becomes a dict and a Value any JSON value. A repeated field becomes a tuple, a map becomes a dict. An
enumeration becomes the member of the model's own one. A field that is absent becomes None.
"""

from __future__ import annotations

import operator
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from agentflow_sdk.convert.json_values import from_struct, from_value
from agentflow_sdk.models.records import Page

T = TypeVar("T")
_Read = Callable[[Any], Any]  # from a message to the value of one field


def record(kind: type[T], message: Any, **given: Any) -> T:
    """Returns a model of a message. given: the fields of the model that the message lacks."""
    cached: Any = kind
    plan = _plan(cached, message.DESCRIPTOR)
    return kind(**{name: read(message) for name, read in plan.items()}, **given)


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
    return _read(descriptor.fields_by_name[field], kind)


@cache
def _plan(kind: Any, descriptor: Any) -> Mapping[str, _Read]:
    known = descriptor.fields_by_name
    return {name: _read(known[name], hint) for name, hint in typing.get_type_hints(kind).items() if name in known}


def _read(field: Any, hint: Any) -> _Read:
    """Returns the function that reads a field. hint: the type that the model wants."""
    get = operator.attrgetter(field.name)
    if field.message_type is not None:
        read = _read_message(field, hint, get)
    elif field.enum_type is not None:
        read = _read_member(field.enum_type, hint, get)
    elif field.is_repeated:
        return lambda message: tuple(get(message))
    else:
        read = get
    if not field.has_presence or (type(None) not in (hint, *typing.get_args(hint)) and hint is not Any):
        return read
    return lambda message: read(message) if message.HasField(field.name) else None


def _read_message(field: Any, hint: Any, get: _Read) -> _Read:
    if field.message_type.full_name == "google.protobuf.Struct":
        return lambda message: from_struct(get(message))
    if field.message_type.full_name == "google.protobuf.Value":
        return lambda message: from_value(get(message))
    if field.message_type.GetOptions().map_entry:
        return lambda message: dict(get(message))
    kind = next(iter(typing.get_args(hint)), hint)
    if field.is_repeated:
        return lambda message: tuple(record(kind, item) for item in get(message))
    return lambda message: record(kind, get(message))


def _read_member(enum: Any, kind: Any, get: _Read) -> _Read:
    """Reads a number that this SDK does not know as `UNSPECIFIED`, or as the last member if there is none such."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    names = {value.number: value.name.removeprefix(prefix) for value in enum.values}
    members = {number: kind[name] for number, name in names.items() if name in kind.__members__}
    unknown = members.get(0, list(kind)[-1])
    return lambda message: members.get(get(message), unknown)
