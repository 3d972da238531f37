"""One call of a registered callable: arguments are checked, the result becomes JSON, errors get
names.

Asynchronous callables run on the loop and cost a few microseconds more than calling them;
synchronous ones run in a bounded pool of threads, where waiting calls queue.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from typing import Any, Final

import msgspec

from agentflow_common import json_values
from agentflow_common.errors import (
    AgentFlowError,
    DeadlineError,
    InvalidError,
    Problem,
    RetryableError,
    TerminalError,
)
from agentflow_common.json_values import JsonError
from agentflow_common.metrics.threads import MeasuredThreads
from agentflow_worker.context import StepContext
from agentflow_worker.registry import Registration

__all__ = ["StepContext", "from_state", "invoke", "offload"]

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_pool: list[MeasuredThreads] = []


async def invoke(registration: Registration, args: dict[str, Any], context: StepContext) -> Any:
    """Runs it and returns a JSON value.

    Raises InvalidError for arguments that don't fit (each with its name and the fix), TerminalError
    for a result that is not JSON, the callable's own AgentFlowError unchanged, and RetryableError
    around any other exception, with the exception's type as the kind. Cancelling the task cancels
    an asynchronous callable; a synchronous one learns it from `context.cancelled`, and its thread
    goes on until it returns.
    """
    arguments = validate(registration, args)
    if registration.context_parameter is not None:
        arguments[registration.context_parameter] = context
    try:
        if registration.is_async:
            result = await registration.call(**arguments)
        else:
            if registration.context_parameter is not None and context.loop is None:
                context.loop = asyncio.get_running_loop()
            call = functools.partial(_unless_cancelled, context, registration, arguments)
            result = await offload(call, context.settings.threads_max)
    except AgentFlowError:
        raise
    except TimeoutError as error:
        raise DeadlineError(f"{registration.name} timed out{_words(error)}", kind="TimeoutError") from error
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        raise _raised(registration, error) from error
    context.returned = True
    return _storable(registration, result if type(result) in _SCALARS else _to_json(registration, result))


def from_state(registration: Registration, inputs: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a graph's node that gets the shared state (in `inputs["state"]`).

    It gets the keys that it has parameters for, or all of the state as its parameter `state`.
    Inputs that the definition gives by name win.
    """
    given = dict(inputs)
    state = given.pop("state", None) or {}
    names = {parameter.name for parameter in registration.parameters}
    if "state" in names:
        return {"state": state, **given}
    return {**{name: value for name, value in state.items() if name in names or registration.open_ended}, **given}


def _unless_cancelled(context: StepContext, registration: Registration, arguments: dict[str, Any]) -> Any:
    """Calls it in the thread, unless it was cancelled while it waited for a thread."""
    if context.cancelled.is_set():
        raise TerminalError("the step was stopped before it began", kind="cancelled")
    try:
        return registration.call(**arguments)
    except (StopIteration, GeneratorExit) as error:  # no future can carry these
        raise _raised(registration, error) from error


def _raised(registration: Registration, error: BaseException) -> RetryableError:
    """Returns the error for an exception that a step raised, `sys.exit()` too: it ends the attempt,
    never the worker.
    """
    kind = type(error).__name__
    return RetryableError(f"{registration.name} raised {kind}{_words(error)}", kind=kind)


def _words(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "(its text can't be made)"
    return f": {text}" if text else ""


def validate(registration: Registration, args: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments with their declared types, ready for `**`.

    InvalidError lists all problems.
    """
    if not registration.parameters and not args:
        return {}
    from pydantic import ValidationError

    try:
        return registration.adapter.validator.validate_python(args)  # type: ignore[no-any-return]
    except ValidationError as error:
        raise _invalid(registration, error.errors(include_url=False, include_input=False)) from None


def _invalid(registration: Registration, errors: list[Any]) -> InvalidError:
    known = ", ".join(p.name + ("" if p.required else "?") for p in registration.parameters) or "none"
    problems = []
    for item in errors:
        place = ".".join(map(str, item["loc"]))
        if item["type"] == "extra_forbidden":
            problems.append(Problem(place, "unknown argument", f"the arguments are: {known}"))
        elif item["type"] == "missing":
            problems.append(Problem(place, "missing argument", f"the arguments are: {known}"))
        else:
            problems.append(Problem(place, str(item["msg"]), "change the value"))
    summary = "; ".join(map(str, problems[:5]))
    return InvalidError(
        f"{registration.kind} {registration.name}: {summary}", kind="invalid_arguments", problems=tuple(problems)
    )


def _to_json(registration: Registration, result: Any) -> Any:
    """Turns dataclasses, msgspec and pydantic objects, tuples and dates into plain JSON values.

    Refuses the rest.
    """
    try:
        return msgspec.to_builtins(result, str_keys=True, enc_hook=_encode)
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise TerminalError(
            f"{registration.kind} {registration.name} returned what is not JSON ({type(result).__name__}: {error}): "
            "return dicts, lists, strings, numbers, booleans or None",
            kind="result_not_json",
        ) from error


def _storable(registration: Registration, value: Any) -> Any:
    """Returns the value, if the log can return the same: NaN would come back as null, a lone
    surrogate not at all.
    """
    try:
        if type(value) is float or b"null" in msgspec.json.encode(value):  # null is how msgspec writes NaN
            json_values.check(value, "output")
    except (ValueError, TypeError, RecursionError) as error:
        raise _not_json(registration, value, error) from error
    return value


def _not_json(registration: Registration, value: Any, error: Exception) -> TerminalError:
    cause = error
    try:
        json_values.check(value, "output")  # names the place, which msgspec does not
    except JsonError as named:
        cause = named
    text = json_values.escaped(str(cause)[:400])
    return TerminalError(
        f"{registration.kind} {registration.name} returned what JSON can't hold: {text}", kind="result_not_json"
    )


def _encode(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    raise TypeError(f"a value of the type {type(value).__name__} is in it")


async def offload(call: Any, threads_max: int = 16) -> Any:
    """Runs a blocking call in the worker's pool of threads (bounded; waiting calls queue), with
    this task's context.
    """
    if not _pool:
        _pool.append(MeasuredThreads("steps", threads_max))
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_pool[0], contextvars.copy_context().run, call)
