"""Converts plain data to protobuf messages and back: structs, JSON values, enums. Pure."""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import msgspec
from google.protobuf import struct_pb2

from agentflow.v1 import workflow_pb2
from agentflow_common.errors import InvalidError
from agentflow_common.events import StepError

LEVELS_MAX: Final = 90  # a protobuf message nests 100 deep: an object takes 3 of these, a list 2
NUMBER_EXACT_MAX: Final = 2**53  # integers above it are not exact as a protobuf number (a double)


class EnumNames:
    """The plain names of an enum's numbers: `completed` for RUN_STATUS_COMPLETED."""

    def __init__(self, enum: Any, prefix: str, place: str) -> None:
        self._numbers: dict[str, int] = {
            name.removeprefix(prefix).lower(): number for name, number in enum.items() if number
        }
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


RUN_STATUS: Final = EnumNames(workflow_pb2.RunStatus, "RUN_STATUS_", "status")
STEP_STATUS: Final = EnumNames(workflow_pb2.StepStatus, "STEP_STATUS_", "status")


@functools.cache
def _shared(descriptor: Any, source: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(field.name for field in descriptor.fields if field.name in source.__struct_fields__)


def message_of(kind: Any, source: msgspec.Struct, **others: Any) -> Any:
    """Returns a message whose fields come from the fields of `source` with the same names, and from `others`.

    A field that neither has is a TypeError, so that no field is forgotten; None leaves a field unset.
    """
    fields = {name: getattr(source, name) for name in _shared(kind.DESCRIPTOR, type(source)) if name not in others}
    if missing := {field.name for field in kind.DESCRIPTOR.fields} - fields.keys() - others.keys():
        raise TypeError(f"{kind.__name__} needs {', '.join(sorted(missing))}")
    return kind(**fields, **others)


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
