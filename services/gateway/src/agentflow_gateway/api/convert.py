"""JSON values to protobuf's Struct and back, and names to enums. Pure."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
from google.protobuf import struct_pb2

from agentflow.v1 import budget_pb2, workflow_pb2
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.events import StepError

_RUN: Final = {name.removeprefix("RUN_STATUS_").lower(): number for name, number in workflow_pb2.RunStatus.items()}
_STEP: Final = {name.removeprefix("STEP_STATUS_").lower(): number for name, number in workflow_pb2.StepStatus.items()}
LEVELS_MAX: Final = 90  # a protobuf message nests 100 deep: an object takes 3 of these, a list 2
NUMBER_EXACT_MAX: Final = 2**53  # integers above it are not exact as a protobuf number (a double)
_PERIOD: Final = {name.removeprefix("BUDGET_PERIOD_").lower(): n for name, n in budget_pb2.BudgetPeriod.items()}


def error_info(error: StepError | None) -> Any:
    if error is None:
        return None
    return workflow_pb2.ErrorInfo(type=error.type, message=error.message, retryable=error.retryable)


def run_status(name: str) -> Any:
    """`completed` -> RUN_STATUS_COMPLETED; a status of a later version is UNSPECIFIED."""
    return _RUN.get(name, 0)


def step_status(name: str) -> Any:
    return _STEP.get(name, 0)


def period(name: str) -> Any:
    return _PERIOD.get(name, 0)


def run_status_name(number: int) -> str:
    """The filter of a list: empty for UNSPECIFIED. InvalidError for a number that is no status."""
    return _name(_RUN, number, "status")


def period_name(number: int) -> str:
    return _name(_PERIOD, number, "period")


def _name(table: dict[str, int], number: int, place: str) -> str:
    for name, known in table.items():
        if known == number:
            return name if number else ""
    allowed = ", ".join(name for name, known in table.items() if known)
    raise InvalidError(f"{place} {number} is not known", problems=(Problem(place, "not known", f"use {allowed}"),))


def set_value(target: struct_pb2.Value, value: Any, left: int = LEVELS_MAX) -> None:
    """Writes a JSON value. An integer beyond 2^53 is written as a text of its digits, since a protobuf number is a
    double and would round it. What is nested too deeply for a message is cut: `{"$truncated": bytes}`.

    left: levels of the message that the value may take."""
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
    """Plain JSON data; integral numbers are integers. InvalidError for NaN and infinity, naming the place."""
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
