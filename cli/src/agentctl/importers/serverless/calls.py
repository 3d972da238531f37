"""Tasks of Serverless Workflow that call something, and the errors and retries around them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentctl.importers.documents import Document
from agentctl.importers.expression import Expr, Fields, Literal, Op, part_of, value
from agentctl.importers.flow import argument_of, name_of
from agentctl.importers.serverless import values
from agentctl.importers.serverless.values import Scope
from agentctl.importers.source import Part


@dataclass(frozen=True)
class Made:
    """The node of a task, and what its output is, given the node's."""

    node: dict[str, Any]
    result: Callable[[Expr], Expr] = lambda output: output
    keeps: bool = False
    """True: the task hands on the document that it got."""


def work(name: str, part: Part, scope: Scope, use: Part) -> Made:
    """Returns what a task that calls, runs or emits something becomes."""
    if "emit" in part:
        part["emit"].remark("an event is not published by itself", "write a tool 'events.emit' that publishes it")
        event = value(values.read(part["emit"]["event"]["with"], scope))
        return Made({"type": "tool", "config": {"tool_name": "events.emit", "tool_args": {"event": event}}}, keeps=True)
    if "run" in part:
        return _run(name, part["run"], scope)
    kind = part["call"].text()
    given = part["with"]
    if kind == "http":
        return _http(given, scope)
    if kind in use["functions"]:
        function = use["functions"][kind]
        if function["call"].text() == "http":
            inner = Scope(Document(values.read(given, scope), (), scope.document.variables), scope.start, scope.name)
            return _http(function["with"], inner)
    tool = name_of(given["operationId"].text() or given["method"].text() or kind.split("@")[0])
    arguments = given["arguments"] if given["arguments"] else given["parameters"] if given["parameters"] else given
    sent = {argument_of(key): value(values.read(item, scope)) for key, item in arguments.fields()}
    part["call"].remark(f"a call of the kind {kind!r} is not carried over", f"write a tool {tool!r} that makes it")
    return Made({"type": "tool", "config": {"tool_name": tool, "tool_args": sent}})


def _http(given: Part, scope: Scope) -> Made:
    method = given["method"].text("get").lower()
    endpoint = given["endpoint"]["uri"] if isinstance(given["endpoint"].value, dict) else given["endpoint"]
    arguments: dict[str, Any] = {"url": value(values.address(endpoint, scope))}
    for name in ("headers", "body", "query"):
        if given[name]:
            arguments[name] = value(values.read(given[name], scope))
    if method != "get":
        fix = f"write a tool 'http.{method}' that returns what http.get returns"
        given["method"].remark(f"the built-in tools only read: there is no http.{method}", fix)
    elif "query" in arguments:
        query = arguments.pop("query")
        pairs = "&".join(f"{name}={item}" for name, item in query.items()) if isinstance(query, dict) else str(query)
        arguments["url"] = f"{arguments['url']}?{pairs}"
    if given["endpoint"]["authentication"]:
        given["endpoint"]["authentication"].remark("the authentication is not carried over", "give it in `headers`")
    node = {"type": "tool", "config": {"tool_name": f"http.{method}", "tool_args": arguments}}
    if given["output"].text("content") == "content":
        return Made(node, lambda output: part_of(output, ("json",)))
    return Made(node, lambda output: Fields((("content", part_of(output, ("json",))),
                                             ("statusCode", part_of(output, ("status",))))))  # fmt: skip


def _run(name: str, run: Part, scope: Scope) -> Made:
    if run["await"].value is False:
        run["await"].remark("the run waits for it here", "nothing, unless it has to go on alone")
    if "workflow" in run:
        child = run["workflow"]
        sent = values.read(child["input"], scope)
        inputs = {key: value(item) for key, item in sent.fields} if isinstance(sent, Fields) else {"input": value(sent)}
        if child["version"]:
            child["version"].remark("a version is a number here", "name it as NAME@NUMBER, or use a label")
        node = {
            "type": "subworkflow",
            "config": {"workflow": name_of(child["name"].text("imported")), "inputs": inputs},
        }
        return Made(node)
    kind = next((kind for kind in ("container", "script", "shell") if kind in run), "run")
    run[kind].remark(f"a {kind} is not run by a worker", f"write a tool {name_of(name)!r} that does it")
    given = run[kind]["arguments"]
    read = values.read(given, scope) if given else Literal({})
    sent_args = {argument_of(key): value(item) for key, item in read.fields} if isinstance(read, Fields) else {}
    if not sent_args and given:
        sent_args = {"arguments": value(read)}
    return Made({"type": "tool", "config": {"tool_name": name_of(name), "tool_args": sent_args}})


def _types(catch: Part) -> list[str]:
    """Returns the error types that a `catch` takes; none for all."""
    wanted = catch["errors"]["with"]
    if wanted["status"]:
        return [f"http_{int(wanted['status'].number())}"]
    kind = wanted["type"].text().rsplit("/", 1)[-1]
    if kind in {"", "communication", "runtime"}:
        if kind:
            wanted["type"].remark(f"all errors are caught, not only those of the type {kind!r}", "name error types")
        return []
    return ["timeout"] if kind == "timeout" else [name_of(kind)]


def caught(catch: Part, kind: Expr) -> Expr | None:
    """Returns the condition under which an error is caught; None for always."""
    types = _types(catch)
    return Op("in", (kind, Literal(types))) if types else None


def retry_of(catch: Part, use: Part) -> dict[str, Any] | None:
    """Returns the retry policy of a `catch`."""
    policy = catch["retry"]
    if not policy:
        return None
    if isinstance(policy.value, str):
        policy = use["retries"][policy.text()]
    for lost in ("when", "exceptWhen"):
        if policy[lost]:
            policy[lost].remark("a condition of a retry is not carried over", "name error types in `retry.on`")
    backoff = next((name for name in ("exponential", "linear") if name in policy["backoff"]), "fixed")
    delay = values.duration_ms(policy["delay"]) if policy["delay"] else 0
    count = int(policy["limit"]["attempt"]["count"].number(99))
    retry: dict[str, Any] = {
        "max_attempts": max(1, min(100, count + 1)),
        "backoff": backoff,
        "initial_ms": min(delay, 3_600_000),
        "max_ms": 86_400_000,
        "jitter": 0.2 if policy["jitter"] else 0,
    }
    types = _types(catch)
    return {**retry, "on": types} if types else retry
