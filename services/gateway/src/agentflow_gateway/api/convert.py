"""Converts plain data to protobuf messages and back: structs, JSON values, enums. Pure."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from google.protobuf import struct_pb2

from agentflow.v1 import workflow_pb2
from agentflow_common.errors import InvalidError
from agentflow_common.events import StepError

StructT = TypeVar("StructT", bound=msgspec.Struct)

LEVELS_MAX: Final = 90  # a protobuf message nests 100 deep: an object takes 3 of these, a list 2
NUMBER_EXACT_MAX: Final = 2**53  # integers above it are not exact as a protobuf number (a double)


class EnumNames:
    """The plain names of an enum's numbers: `completed` for RUN_STATUS_COMPLETED."""

    def __init__(self, enum: Any, place: str) -> None:
        self._numbers = _numbers(enum.DESCRIPTOR)
        self._place = place  # the request's field that holds the number

    def number(self, name: str) -> Any:
        """Returns the number, or 0 (unspecified) for a name of a later version."""
        return self._numbers.get(name, 0)

    def name(self, number: int) -> str:
        """Returns the name, or the empty string for 0. InvalidError for a number that is not known."""
        return self.required(number) if number else ""

    def required(self, number: int) -> str:
        """Returns the name. InvalidError for a number that is not known, and for 0."""
        for name, known in self._numbers.items():
            if known == number:
                return name
        raise InvalidError.at(self._place, f"{self._place} {number} is not known", f"use {', '.join(self._numbers)}")


@functools.cache
def _numbers(enum: Any) -> dict[str, int]:
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
    return {value.name.removeprefix(prefix).lower(): value.number for value in enum.values if value.number}


RUN_STATUS: Final = EnumNames(workflow_pb2.RunStatus, "status")
_NAMES: Final = {"run_id": "run", "org_id": "org", "sequence": "seq"}
_SUFFIXES: Final = {"_sequence": "_seq", "_nano_usd": "_nano"}


def _plain_name(field: str) -> str:
    """Returns how structs name a field of the API."""
    for suffix, plain in _SUFFIXES.items():
        if field.endswith(suffix):
            return field.removesuffix(suffix) + plain
    return _NAMES.get(field, field)


class _Field(NamedTuple):
    """A field that a message and a struct have in common."""

    name: str  # in the message
    plain: str  # in the struct
    numbers: dict[str, int] | None  # of an enum
    presence: bool  # the message tells an empty value from none


class _Shared(NamedTuple):
    """The fields that a message and a struct have in common."""

    fields: tuple[_Field, ...]
    others: frozenset[str]  # the message's other fields


@functools.cache
def _shared(kind: Any, source: type[msgspec.Struct]) -> _Shared:
    fields = tuple(
        _Field(
            field.name, plain, _numbers(field.enum_type) if field.enum_type is not None else None, field.has_presence
        )
        for field in kind.DESCRIPTOR.fields
        if (plain := _plain_name(field.name)) in source.__struct_fields__
        or isinstance(getattr(source, plain, None), property)
    )
    return _Shared(fields, frozenset(kind.DESCRIPTOR.fields_by_name) - {field.name for field in fields})


def message_of(kind: Any, source: msgspec.Struct, **others: Any) -> Any:
    """Returns a message whose fields come from the fields of `source` with the same names, and from `others`.

    `run_id`, `sequence` and amounts in `nano_usd` have shorter names in structs; names of an enum become numbers. A
    field that neither has is a TypeError, so that no field is forgotten; None leaves a field unset.
    """
    fields, wanted = _shared(kind, type(source))
    if not others.keys() >= wanted:
        raise TypeError(f"{kind.__name__} needs {', '.join(sorted(wanted - others.keys()))}")
    for name, plain, numbers, presence in fields:
        if name not in others:
            value = getattr(source, plain)
            if numbers is not None:
                value = numbers.get(str(value), 0)
            if value or presence:  # what is empty need not be written
                others[name] = value
    return kind(**others)


def struct_of(kind: type[StructT], message: Any, **others: Any) -> StructT:
    """Returns a struct whose fields come from the fields of `message` with the same names, and from `others`.

    Names differ as in `message_of`. A field of the struct that neither has is a TypeError. Enums, lists and Structs
    must be among the others, with their checks and types.
    """
    for name, plain, _, _ in _shared(message.__class__, kind).fields:
        if plain not in others:
            field = message.DESCRIPTOR.fields_by_name[name]
            value = optional(message, name) if field.has_presence else getattr(message, name)
            others[plain] = dict(value) if isinstance(value, Mapping) else value
    if missing := set(kind.__struct_fields__) - others.keys():
        raise TypeError(f"{kind.__name__} needs {', '.join(sorted(missing))}")
    return kind(**others)


def optional(request: Any, name: str) -> Any:
    """Returns the value of a field, None if it is not set. A protobuf Value is returned as JSON."""
    if not request.HasField(name):
        return None
    value = getattr(request, name)
    return from_value(value, name) if isinstance(value, struct_pb2.Value) else value


def error_info(error: StepError | None) -> Any:
    return None if error is None else message_of(workflow_pb2.ErrorInfo, error)


def set_value(target: struct_pb2.Value, value: Any, left: int = LEVELS_MAX) -> None:
    """Writes a JSON value.

    An integer beyond 2^53 is written as a text of its digits: a protobuf number is a double and would round it. A value
    that is nested too deeply for a message is cut: `{"$truncated": bytes}`. left: levels that the value may take.
    """
    if value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, int) and abs(value) > NUMBER_EXACT_MAX:
        target.string_value = str(value)
    elif isinstance(value, int | float):
        target.number_value = value
    elif value and left < 0:
        target.struct_value.fields["$truncated"].number_value = len(msgspec.json.encode(value))
    elif isinstance(value, dict):
        set_struct(target.struct_value, value, left)
    else:
        target.list_value.SetInParent()
        for item in value:
            set_value(target.list_value.values.add(), item, left - 2)


def set_struct(target: struct_pb2.Struct, value: dict[str, Any], left: int = LEVELS_MAX) -> None:
    target.SetInParent()
    for key, item in value.items():
        set_value(target.fields[str(key)], item, left - 3)


def exact_number(value: float, place: str) -> int | float:
    """Returns a protobuf number as JSON has it: integral doubles are integers. InvalidError for NaN and infinity."""
    if not math.isfinite(value):
        raise InvalidError.at(place, f"{place} is NaN or infinity, which JSON can't represent", "use a finite number")
    return int(value) if value.is_integer() and abs(value) <= NUMBER_EXACT_MAX else value


def from_struct(struct: struct_pb2.Struct, place: str) -> dict[str, Any]:
    """Returns plain JSON data; integral numbers are integers. InvalidError for NaN and infinity names the place."""
    return {key: from_value(value, f"{place}.{key}") for key, value in struct.fields.items()}


def from_value(value: struct_pb2.Value, place: str) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return exact_number(value.number_value, place)
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return from_struct(value.struct_value, place)
    if kind == "list_value":
        return [from_value(item, f"{place}[{number}]") for number, item in enumerate(value.list_value.values)]
    return None
