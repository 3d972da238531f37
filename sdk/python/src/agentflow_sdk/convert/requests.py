"""Requests as protobuf messages, with an error that names the argument which does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from agentflow_sdk.convert.json_values import unsendable
from agentflow_sdk.errors import InvalidArgumentError
from agentflow_sdk.models.statuses import RunStatus

_INT32_MAX: Final = 2**31 - 1
_INT64_MAX: Final = 2**63 - 1


def message(kind: Any, /, **fields: Any) -> Any:
    """Returns a protobuf message. Raises InvalidArgumentError that names the field for a value that does not fit it."""
    try:
        return kind(**fields)
    except (TypeError, ValueError):
        for name, value in fields.items():
            try:
                kind(**{name: value})
            except (TypeError, ValueError) as error:
                fix, bound = _fits(kind.DESCRIPTOR.fields_by_name[name])
                if "range" in str(error):
                    raise unsendable(name, f"{value!r:.80} is out of range", fix + bound) from None
                raise unsendable(name, f"{value!r:.80} does not fit", fix) from None
        raise


def listed(given: str | Iterable[str]) -> list[str]:
    """Returns the texts. A lone text is one of them, not its letters."""
    return [given] if isinstance(given, str) else list(given)


def _fits(field: Any) -> tuple[str, str]:
    """Returns (what fits a field, its bound if it is a number)."""
    if field.message_type is not None:
        is_map = field.message_type.GetOptions().map_entry
        return "give a dict of texts by name" if is_map else "see the method's signature", ""
    return {
        field.CPPTYPE_STRING: ("give a text", ""),
        field.CPPTYPE_INT32: ("give a whole number", f" of at most {_INT32_MAX:,}"),
        field.CPPTYPE_INT64: ("give a whole number", f" of at most {_INT64_MAX:,}"),
    }.get(field.cpp_type, ("see the method's signature", ""))


def unfit(call: str, arguments: Mapping[str, Any], error: Exception) -> InvalidArgumentError:
    """Returns the error for arguments that a request can't hold, with the one that does not fit."""
    several = {name: value for name, value in arguments.items() if isinstance(value, tuple | list)}
    given = [*arguments.items(), *((name, value) for name, values in several.items() for value in values)]
    for name, value in given:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) <= _INT32_MAX:
            continue
        if isinstance(value, float) and not math.isfinite(value):
            return unsendable(name, f"{value} is not a number that can be sent", "give a finite number")
        text = f"{value:,} is out of range" if isinstance(value, int) else f"{value:g} is out of range"
        small = isinstance(value, int) and abs(value) <= _INT64_MAX
        fix = f"use at most {_INT32_MAX:,}" if small else "use a smaller number"
        return unsendable(name, text, fix)
    return InvalidArgumentError(f"{call}: an argument does not fit the request: {error}")


def enum_name(prefix: str, text: str, known: Iterable[str], place: str, noun: str = "") -> str:
    """Returns the API's name of an enumeration's member: `BATCH_ACTION_CANCEL` for `cancel`.

    Raises InvalidArgumentError, which lists the known ones, for any other text. noun: what it is, by default the place.
    """
    names = list(known)
    if str(text).lower() not in names:
        fix = f"use {', '.join(name for name in names if name != 'unspecified')}"
        message = f"unknown {noun or place} {text!r}"
        raise InvalidArgumentError.at(place, message, fix, message)
    return f"{prefix}_{str(text).upper()}"


def run_status_name(status: str | None) -> str:
    """Returns the API's name of a run's status. None and the empty text stand for any status."""
    return enum_name("RUN_STATUS", status or RunStatus.UNSPECIFIED, RunStatus, "status", "run status")
