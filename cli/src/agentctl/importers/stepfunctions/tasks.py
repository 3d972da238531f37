"""Task states of Step Functions: what their resource becomes, and their retries and limits. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from agentctl.importers.documents import Document
from agentctl.importers.expression import Expr, Fields, Literal, UntranslatableError, part_of, value
from agentctl.importers.flow import argument_of, name_of
from agentctl.importers.source import Part
from agentctl.importers.stepfunctions import values
from agentctl.importers.stepfunctions.values import Scope

_ARN: Final = re.compile(r":(?:function|stateMachine):([^:]+)")
_ERRORS: Final = {"States.Timeout": "timeout", "States.HeartbeatTimeout": "heartbeat_timeout"}


@dataclass(frozen=True)
class Made:
    """The node of a state, and what its result is, given the node's output."""

    node: dict[str, Any]
    result: Callable[[Expr], Expr] = lambda output: output
    signal: bool = False
    """True: the result comes later, as a signal."""


def work(name: str, part: Part, scope: Scope) -> Made:
    """Returns what the resource of a task becomes."""
    resource = part["Resource"].text()
    given = _given(part, scope)
    waits = resource.endswith(".waitForTaskToken")
    if waits:
        fix = f"send the result: agentctl workflow signal RUN {name_of(name)} --payload JSON"
        part["Resource"].remark("the task token is a signal here", fix)
    service = resource.split(":::", 1)[1] if ":::" in resource else resource
    service = service.removesuffix(".waitForTaskToken").removesuffix(".sync:2").removesuffix(".sync")
    if service == "states:startExecution":
        return _execution(part, given)
    if service == "http:invoke":
        return _http(part, given)
    if service == "lambda:invoke":
        return Made(_lambda(name, part, given), lambda output: Fields((("Payload", output),)), waits)
    if ":function:" in resource or ":activity:" in resource:
        kind = ":function:" if ":function:" in resource else ":activity:"
        tool = name_of(resource.split(kind, 1)[1].split(":")[0])
        return Made(_tool(part, tool, _arguments(given), f"the function {tool!r} of AWS"), signal=waits)
    tool = ".".join(name_of(word) for word in service.removeprefix("aws-sdk:").split(":")[-2:] if word) or name_of(name)
    return Made(_tool(part, tool, _arguments(given), f"the service {service!r} of AWS"), signal=waits)


def _tool(part: Part, tool: str, arguments: dict[str, Any], what: str) -> dict[str, Any]:
    part["Resource"].remark(f"{what} is not carried over", f"write a tool {tool!r} that does it or calls it")
    return {"type": "tool", "config": {"tool_name": tool, "tool_args": arguments}}


def _given(part: Part, scope: Scope) -> Document:
    field = "Arguments" if "Arguments" in part else "Parameters"
    if field not in part:
        return scope.document
    return Document(values.payload(part[field], scope))


def _arguments(given: Document, name: Callable[[str], str] = argument_of) -> dict[str, Any]:
    return {name(wanted): item for wanted, item in given.arguments().items()}


def _field(given: Document, name: str) -> Expr | None:
    try:
        return part_of(given.base, (name,)) if isinstance(given.base, Fields) else None
    except UntranslatableError:
        return None


def _named(expr: Expr | None, default: str) -> str:
    """Returns the name in an ARN, in a part of one, or in a reference of CloudFormation, without version and alias."""
    text = str(expr.value) if isinstance(expr, Literal) else default
    found = _ARN.search(text)
    wanted = found[1] if found else re.sub(r"[${}]", "", text).split(":")[0].removesuffix(".Arn")
    return name_of(wanted or default)


def _lambda(name: str, part: Part, given: Document) -> dict[str, Any]:
    function = _field(given, "FunctionName")
    tool = _named(function, name_of(name))
    sent = _field(given, "Payload")
    arguments = _arguments(Document(sent)) if sent is not None else {}
    return _tool(part, tool, arguments, f"the function {tool!r} of AWS")


def _execution(part: Part, given: Document) -> Made:
    workflow = _named(_field(given, "StateMachineArn"), "imported")
    sent = _field(given, "Input")
    inputs = _arguments(Document(sent), name_of) if sent is not None else {}
    if not part["Resource"].text().endswith((".sync", ".sync:2")):
        part["Resource"].remark(
            "the started machine is a child that this run waits for", "nothing, unless it has to go on alone"
        )
    node = {"type": "subworkflow", "config": {"workflow": workflow, "inputs": inputs}}
    return Made(node, lambda output: Fields((("Output", output),)))


def _http(part: Part, given: Document) -> Made:
    method = _field(given, "Method")
    verb = str(method.value).lower() if isinstance(method, Literal) else "get"
    names = {"ApiEndpoint": "url", "Headers": "headers", "RequestBody": "body"}
    found = {ours: value(expr) for theirs, ours in names.items() if (expr := _field(given, theirs)) is not None}
    if verb != "get":
        part.remark(f"the built-in tools only read: there is no http.{verb}", "write that tool")
    for lost in ("Authentication", "QueryParameters"):
        if _field(given, lost) is not None:
            part.remark(f"{lost!r} is not carried over", "put it into `headers` or the address")
    node = {"type": "tool", "config": {"tool_name": f"http.{verb}", "tool_args": found}}
    return Made(node, lambda output: Fields((("ResponseBody", part_of(output, ("json",))),
                                             ("StatusCode", part_of(output, ("status",))))))  # fmt: skip


def error_types(part: Part) -> list[str]:
    """Returns the error types that a list of errors names; none for all of them."""
    names = [item.text() for item in part.items()]
    if "States.ALL" in names or "States.TaskFailed" in names:
        return []
    unknown = [name for name in names if name.startswith(("Lambda.", "States.")) and name not in _ERRORS]
    if unknown:
        part.remark(f"{', '.join(unknown)} are errors of AWS", "name the errors that your tool raises")
    return [_ERRORS.get(name, name.split(".")[-1]) for name in names if name not in unknown]


def policy_of(part: Part, *, heartbeat: bool) -> dict[str, Any]:
    """Returns the policy of a state: retries and time limits."""
    policy: dict[str, Any] = {}
    retriers = list(part["Retry"].items())
    if retriers:
        names = [[name.text() for name in item["ErrorEquals"].items()] for item in retriers]
        chosen = next((item for item, of in zip(retriers, names, strict=True) if "States.ALL" in of), retriers[0])
        for other in retriers:
            if other is not chosen:
                other.remark(
                    "a step has one retry policy", "name its error types there too, or handle them in the tool"
                )
        policy["retry"] = _retry(chosen)
    else:
        policy["retry"] = {"max_attempts": 1}
    if part["TimeoutSeconds"].number() > 0:
        policy["timeout_ms"] = int(part["TimeoutSeconds"].number() * 1000)
    if part["HeartbeatSeconds"].number() > 0 and heartbeat:
        policy["heartbeat_ms"] = int(part["HeartbeatSeconds"].number() * 1000)
    return policy


def _retry(part: Part) -> dict[str, Any]:
    rate = part["BackoffRate"].number(2.0)
    if rate not in {1.0, 2.0}:
        part["BackoffRate"].remark("the delay doubles or stays the same here", "set `initial_ms` and `max_ms`")
    first = min(int(part["IntervalSeconds"].number(1) * 1000), 3_600_000)
    retry: dict[str, Any] = {
        "max_attempts": min(100, int(part["MaxAttempts"].number(3)) + 1),
        "backoff": "fixed" if rate == 1.0 else "exponential",
        "initial_ms": first,
        "max_ms": max(first, int(part["MaxDelaySeconds"].number(86_400) * 1000)),
        "jitter": 1 if part["JitterStrategy"].text() == "FULL" else 0,
    }
    if part["MaxAttempts"].value == 0:
        retry = {"max_attempts": 1}
    types = error_types(part["ErrorEquals"])
    return {**retry, "on": types} if types else retry
