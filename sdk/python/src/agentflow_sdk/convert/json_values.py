"""JSON values as protobuf messages, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import struct_pb2

from agentflow_sdk.errors import InvalidArgumentError

_INT_EXACT_MAX: Final = 2**53  # JSON numbers on the wire are doubles
_DIGITS_SHOWN: Final = 40
_DIGITS_SURELY_EXACT: Final = 15
_LEVELS_MAX: Final = 90  # a protobuf message nests 100 deep: an object takes 3 of these, a list 2


def to_struct(value: Mapping[str, Any], place: str) -> struct_pb2.Struct:
    """Returns a JSON object as a Struct.

    Raises InvalidArgumentError, which names the place, for a value that JSON can't hold exactly.
    """
    if not isinstance(value, Mapping):
        raise unsendable(place, f"a {type(value).__name__} is not an object", "pass a dict or another mapping by name")
    out = struct_pb2.Struct()
    _fill_object(out, value, place, _LEVELS_MAX)
    return out


def to_value(value: Any, place: str) -> struct_pb2.Value:
    """Returns any JSON value as a Value. It raises what `to_struct` raises."""
    out = struct_pb2.Value()
    _fill(out, value, place, _LEVELS_MAX)
    return out


def unsendable(place: str, message: str, fix: str) -> InvalidArgumentError:
    """Returns the error for a value that no request can hold."""
    return InvalidArgumentError.at(place, message, fix, f"{place} can't be sent")


def _fill_object(target: struct_pb2.Struct, value: Mapping[Any, Any], place: str, left: int) -> None:
    for key, item in value.items():
        if not isinstance(key, str):
            raise unsendable(place, f"the key {key!r} is not a string", "use string keys")
        _check_text(key, place)
        _fill(target.fields[key], item, f"{place}.{key}", left)


def _fill(target: struct_pb2.Value, value: Any, place: str, left: int) -> None:
    if left < 0:
        text = f"nested deeper than {_LEVELS_MAX // 3} objects or {_LEVELS_MAX // 2} lists"
        raise unsendable(place[:80], text, "flatten the value, or send it as a string of JSON")
    if value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        _check_text(value, place)
        target.string_value = str(value)
    elif isinstance(value, int | float):
        target.number_value = _number(value, place)
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        _fill_object(target.struct_value, value, place, left - 3)
    elif isinstance(value, list | tuple):
        target.list_value.SetInParent()
        for index, item in enumerate(value):
            _fill(target.list_value.values.add(), item, f"{place}[{index}]", left - 2)
    else:
        text = f"{type(value).__name__} is not JSON"
        raise unsendable(place, text, "use strings, numbers, booleans, lists and objects")


def _check_text(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        message = "a text contains a lone surrogate, which is not valid Unicode"
        raise unsendable(place, message, "decode bytes with errors='replace'") from None


def _number(value: float, place: str) -> float:
    if isinstance(value, int) and abs(value) > _INT_EXACT_MAX:
        digits = math.ceil(value.bit_length() * math.log10(2))
        shown = str(value) if digits <= _DIGITS_SHOWN else f"an integer of some {digits:,} digits"
        raise unsendable(place, f"{shown} does not fit in a JSON number exactly", "send it as a string")
    if not math.isfinite(value):
        raise unsendable(place, f"{value} is not JSON", "send null or a string")
    return value


def from_value(value: struct_pb2.Value) -> Any:
    """Returns a JSON value. Whole numbers become int, which they almost always were."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _INT_EXACT_MAX else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return from_struct(value.struct_value)
    if kind == "list_value":
        return [from_value(item) for item in value.list_value.values]
    return None


def from_struct(value: struct_pb2.Struct) -> dict[str, Any]:
    """Returns a JSON object, sorted by key so that an answer looks the same each time: a protobuf map has no order."""
    return {key: from_value(value.fields[key]) for key in sorted(value.fields)}


def from_json(data: bytes) -> Any:
    """Returns the value of a JSON text with numbers as `from_value` gives them."""
    return json.loads(data, parse_int=_read_int, parse_float=_read_float)


def _read_int(digits: str) -> int | str:
    if len(digits) <= _DIGITS_SURELY_EXACT:
        return int(digits)
    return digits if len(digits) > _DIGITS_SHOWN or abs(int(digits)) > _INT_EXACT_MAX else int(digits)


def _read_float(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= _INT_EXACT_MAX else number
