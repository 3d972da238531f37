"""Between protobuf messages and plain Python: JSON values both ways, and answers into models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import struct_pb2

from agentflow.v1 import budget_pb2, prompt_pb2, trace_pb2, workflow_pb2
from agentflow_sdk.errors import InvalidArgumentError, Problem
from agentflow_sdk.models import workflows as models

_INT_EXACT_MAX: Final = 2**53  # JSON numbers on the wire are doubles
_DIGITS_SHOWN: Final = 40
_LEVELS_MAX: Final = 90  # a protobuf message nests 100 deep: an object takes 3 of these, a list 2


def message(kind: Any, /, **fields: Any) -> Any:
    """A protobuf message. Raises InvalidArgumentError that names the field for a value that does not fit it."""
    try:
        return kind(**fields)
    except (TypeError, ValueError):
        for name, value in fields.items():
            try:
                kind(**{name: value})
            except (TypeError, ValueError) as error:
                wide = "range" in str(error)
                text = f"{value!r:.80} " + ("is out of range" if wide else "does not fit")
                fix = _FITS.get(_type_of(kind, name), "see the method's signature")
                raise _bad(name, text, fix + _bound(kind, name) * wide) from None
        raise


_INT32_MAX: Final = 2**31 - 1


def unfit(call: str, arguments: Mapping[str, Any], error: Exception) -> InvalidArgumentError:
    """The error for arguments that a request can't hold, with the one that does not fit."""
    several = {name: value for name, value in arguments.items() if isinstance(value, tuple | list)}
    given = [*arguments.items(), *((name, value) for name, values in several.items() for value in values)]
    for name, value in given:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) <= _INT32_MAX:
            continue
        if isinstance(value, float) and not math.isfinite(value):
            return _bad(name, f"{value} is not a number that can be sent", "give a finite number")
        text = f"{value:,} is out of range" if isinstance(value, int) else f"{value:g} is out of range"
        fix = f"use at most {_INT32_MAX:,}" if abs(value) < 2**63 and isinstance(value, int) else "use a smaller number"
        return _bad(name, text, fix)
    return InvalidArgumentError(f"{call}: an argument does not fit the request: {error}")


_FITS: Final = {
    "text": "give a text",
    "number": "give a whole number",
    "map": "give a dict of texts by name",
}


def _bound(kind: Any, name: str) -> str:
    field = kind.DESCRIPTOR.fields_by_name[name]
    return {field.CPPTYPE_INT32: f" of at most {2**31 - 1:,}", field.CPPTYPE_INT64: f" of at most {2**63 - 1:,}"}.get(
        field.cpp_type, ""
    )


def _type_of(kind: Any, name: str) -> str:
    field = kind.DESCRIPTOR.fields_by_name[name]
    if field.message_type is not None:
        return "map" if field.message_type.GetOptions().map_entry else ""
    return {field.CPPTYPE_STRING: "text", field.CPPTYPE_INT32: "number", field.CPPTYPE_INT64: "number"}.get(
        field.cpp_type, ""
    )


def to_struct(value: Mapping[str, Any], place: str) -> struct_pb2.Struct:
    """A JSON object as a Struct. Raises InvalidArgumentError, naming the place, for what JSON can't hold exactly."""
    if not isinstance(value, Mapping):
        raise _bad(
            place, f"a {type(value).__name__} is not an object", "pass a dict, or another mapping, of names to values"
        )
    out = struct_pb2.Struct()
    for key, item in value.items():
        if not isinstance(key, str):
            raise _bad(place, f"the key {key!r} is not a string", "use string keys")
        _check_text(key, place)
        _fill(out.fields[key], item, f"{place}.{key}", _LEVELS_MAX)
    return out


def to_value(value: Any, place: str) -> struct_pb2.Value:
    """Any JSON value; see to_struct."""
    out = struct_pb2.Value()
    _fill(out, value, place, _LEVELS_MAX)
    return out


def _fill(target: struct_pb2.Value, value: Any, place: str, left: int) -> None:
    if left < 0:
        text = f"nested deeper than {_LEVELS_MAX // 3} objects or {_LEVELS_MAX // 2} lists"
        raise _bad(place[:80], text, "flatten the value, or send it as a string of JSON")
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
        for key, item in value.items():
            if not isinstance(key, str):
                raise _bad(place, f"the key {key!r} is not a string", "use string keys")
            _check_text(key, place)
            _fill(target.struct_value.fields[key], item, f"{place}.{key}", left - 3)
    elif isinstance(value, list | tuple):
        target.list_value.SetInParent()
        for index, item in enumerate(value):
            _fill(target.list_value.values.add(), item, f"{place}[{index}]", left - 2)
    else:
        raise _bad(place, f"{type(value).__name__} is not JSON", "use strings, numbers, booleans, lists and objects")


def _check_text(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        told = "a text holds a lone surrogate, which is not valid Unicode"
        raise _bad(place, told, "decode bytes with errors='replace'") from None


def _number(value: float, place: str) -> float:
    if isinstance(value, int) and abs(value) > _INT_EXACT_MAX:
        digits = math.ceil(value.bit_length() * math.log10(2))
        told = str(value) if digits <= _DIGITS_SHOWN else f"an integer of some {digits:,} digits"
        raise _bad(place, f"{told} does not fit in a JSON number exactly", "send it as a string")
    if not math.isfinite(value):
        raise _bad(place, f"{value} is not JSON", "send null or a string")
    return value


def _bad(place: str, message: str, fix: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{place} can't be sent", problems=(Problem(place, message, fix),))


def from_value(value: struct_pb2.Value) -> Any:
    """A JSON value; whole numbers come back as int, which they almost always were."""
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
    """Sorted by key: a protobuf map has no order, and an answer should read the same each time."""
    return {key: from_value(value.fields[key]) for key in sorted(value.fields)}


def run_status(number: int) -> models.RunStatus:
    """A status that this SDK does not know yet reads as unspecified."""
    try:
        return models.RunStatus(workflow_pb2.RunStatus.Name(number).removeprefix("RUN_STATUS_").lower())
    except ValueError:
        return models.RunStatus.UNSPECIFIED


def run_status_number(status: models.RunStatus | str | None) -> int:
    """Raises InvalidArgumentError for a word that is no status."""
    if not status:
        return 0
    try:
        return int(workflow_pb2.RunStatus.Value(f"RUN_STATUS_{models.RunStatus(str(status).lower()).name}"))
    except ValueError:
        known = ", ".join(item.value for item in models.RunStatus if item is not models.RunStatus.UNSPECIFIED)
        raise InvalidArgumentError(
            f"unknown run status {status!r}", problems=(Problem("status", f"{status!r} is no status", f"use {known}"),)
        ) from None


def _step_status(number: int) -> models.StepStatus:
    try:
        return models.StepStatus(workflow_pb2.StepStatus.Name(number).removeprefix("STEP_STATUS_").lower())
    except ValueError:
        return models.StepStatus.UNSPECIFIED


def budget_period_number(period: models.BudgetPeriod | str) -> int:
    try:
        name = models.BudgetPeriod(str(period).lower()).name
    except ValueError:
        known = ", ".join(models.BudgetPeriod)
        raise InvalidArgumentError(
            f"unknown budget period {period!r}",
            problems=(Problem("period", f"{period!r} is no period", f"use {known}"),),
        ) from None
    return int(budget_pb2.BudgetPeriod.Value(f"BUDGET_PERIOD_{name}"))


def _budget_period(number: int) -> models.BudgetPeriod:
    try:
        return models.BudgetPeriod(budget_pb2.BudgetPeriod.Name(number).removeprefix("BUDGET_PERIOD_").lower())
    except ValueError:
        return models.BudgetPeriod.TOTAL


def _error(owner: Any) -> models.ErrorInfo | None:
    if not owner.HasField("error"):
        return None
    return models.ErrorInfo(owner.error.type, owner.error.message, owner.error.retryable)


def same(message: Any, *names: str) -> dict[str, Any]:
    """Scalar fields that keep their name."""
    return {name: getattr(message, name) for name in names}


def step(message: workflow_pb2.Step) -> models.Step:
    return models.Step(
        status=_step_status(message.status),
        output=from_value(message.output) if message.HasField("output") else None,
        error=_error(message),
        **same(message, "step", "attempt", "scheduled_at", "started_at", "finished_at", "cost_nano_usd"),
        waiting_detail=from_struct(message.waiting_detail),
        **same(message, "provider", "model", "prompt", "type", "skip_reason", "progress", "progress_detail", "lane"),
        **same(message, "finish_reason"),
        **same(message, "waiting_for", "waiting_until", "child_run_id", "seeded"),
    )


def run(message: workflow_pb2.Run) -> models.Run:
    return models.Run(
        status=run_status(message.status),
        inputs=from_value(message.inputs) if message.HasField("inputs") else None,
        output=from_value(message.output) if message.HasField("output") else None,
        error=_error(message),
        steps=tuple(step(item) for item in message.steps),
        budget_nano_usd=message.budget_nano_usd if message.HasField("budget_nano_usd") else None,
        tags=dict(message.tags),
        redactions=dict(message.redactions),
        **same(message, "run_id", "workflow", "version", "submitted_at", "started_at", "finished_at"),
        waiting_steps=tuple(message.waiting_steps),
        derived_run_ids=tuple(message.derived_run_ids),
        **same(message, "cost_nano_usd", "trace_id", "last_sequence", "input_tokens", "output_tokens"),
        **same(message, "parent_run_id", "parent_step", "origin_kind", "origin_run_id", "origin_step"),
        **same(message, "continued_as", "paused_reason", "unregistered"),
    )


def run_summary(message: workflow_pb2.RunSummary) -> models.RunSummary:
    return models.RunSummary(
        status=run_status(message.status),
        tags=dict(message.tags),
        **same(message, "run_id", "workflow", "version", "submitted_at", "finished_at", "cost_nano_usd", "error_type"),
        **same(message, "unregistered"),
    )


def run_page(message: workflow_pb2.ListRunsResponse) -> models.RunPage:
    runs = tuple(run_summary(item) for item in message.runs)
    return models.RunPage(runs, message.next_page_token)


def registration(message: workflow_pb2.RegisterWorkflowResponse) -> models.Registration:
    return models.Registration(message.name, message.version, message.digest, message.created)


def validation(message: workflow_pb2.ValidateWorkflowResponse) -> models.Validation:
    problems = tuple(Problem(item.place, item.message, item.fix) for item in message.problems)
    return models.Validation(message.valid, problems, message.name, message.version, message.steps)


def watch_item(message: workflow_pb2.WatchRunResponse) -> models.RunEvent | models.Token | None:
    """None for an item that this SDK does not know."""
    kind = message.WhichOneof("item")
    if kind == "token":
        chunk = message.token
        return models.Token(chunk.step, chunk.attempt, chunk.offset, chunk.text)
    if kind != "event":
        return None
    event = message.event
    return models.RunEvent(
        body=from_struct(event.body),
        status=run_status(event.status),
        **same(event, "sequence", "type", "ts", "step", "attempt", "cost_nano_usd", "steps_done", "steps_total"),
    )


def prompt(message: prompt_pb2.Prompt) -> models.Prompt:
    return models.Prompt(
        inputs_schema=from_struct(message.inputs_schema),
        labels=tuple(message.labels),
        **same(message, "name", "version", "template", "system", "description", "task", "max_output_tokens"),
        **same(message, "temperature", "created_at", "created_by", "sha256"),
    )


def budget(message: budget_pb2.Budget) -> models.Budget:
    return models.Budget(
        period=_budget_period(message.period),
        **same(message, "id", "name", "limit_nano_usd", "scope", "spent_nano_usd", "reserved_nano_usd"),
        **same(message, "period_start", "period_end", "created_at"),
    )


def trace(message: trace_pb2.GetTraceResponse) -> models.Trace:
    steps = tuple(
        models.TraceStep(
            status=_step_status(item.status),
            redactions=dict(item.redactions),
            **same(item, "step", "attempt", "scheduled_at", "started_at", "finished_at", "wait_ms", "duration_ms"),
            **same(item, "cost_nano_usd", "provider", "model", "prompt", "input_tokens", "output_tokens"),
            **same(item, "cache_hit", "worker", "error", "finish_reason"),
        )
        for item in message.steps
    )
    events = tuple(
        models.TraceEvent(
            body=from_struct(item.body), **same(item, "stream", "sequence", "ts", "type", "step", "attempt")
        )
        for item in message.events
    )
    return models.Trace(
        status=run_status(message.status),
        redactions=dict(message.redactions),
        steps=steps,
        events=events,
        **same(message, "run_id", "workflow", "trace_id", "started_at", "finished_at", "cost_nano_usd"),
        **same(message, "input_tokens", "output_tokens", "version", "unregistered"),
    )


def trace_summaries(message: trace_pb2.QueryTracesResponse) -> models.Page[models.TraceSummary]:
    found = (
        models.TraceSummary(
            status=run_status(item.status),
            **same(item, "run_id", "workflow", "started_at", "duration_ms", "cost_nano_usd", "steps"),
        )
        for item in message.traces
    )
    return models.Page(found, message.next_page_token)
