"""Templates of Argo that do one thing, the arguments that they get, and their policies. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from agentctl.importers.argo import values
from agentctl.importers.expression import Expr, Literal, Ref, value
from agentctl.importers.flow import argument_of, name_of, translated
from agentctl.importers.source import Part, amount

_KINDS: Final = ("container", "script", "containerSet", "resource", "data", "plugin")
_UNIT_MS: Final = {"": 1_000, "ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_POD: Final = ("sidecars", "initContainers", "daemon", "nodeSelector", "affinity", "tolerations", "volumes", "memoize")


def parameters(template: Part) -> dict[str, Part]:
    """Returns the input parameters of a template by name."""
    return {part["name"].text(): part for part in template["inputs"]["parameters"].items()}


def duration_ms(part: Part) -> int:
    """Returns a duration such as `10`, `10s` or `1h30m` in milliseconds."""
    found = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhd]?)", part.text())
    return int(sum(amount(number) * _UNIT_MS[unit] for number, unit in found))


class Leaves:
    """Makes the work of templates that do one thing."""

    def __init__(self, resolve: values.Resolve) -> None:
        self._resolve = resolve

    def arguments(
        self, wanted: dict[str, Part], given: dict[str, Part], named: Callable[[str], str] = name_of
    ) -> dict[str, Any]:
        """Returns the arguments of a call: those that are given, and the template's own values for the others."""
        return {named(name): value(expr) for name, expr in self.given(wanted, given).items()}

    def given(self, wanted: dict[str, Part], given: dict[str, Part]) -> dict[str, Expr]:
        """Returns what `arguments` does, under the names and in the form of the template."""
        found: dict[str, Expr] = {}
        for name, part in {**wanted, **given}.items():
            if "value" not in part:
                if part["valueFrom"]:
                    part["valueFrom"].remark("a value from outside is not carried over", "give it as an argument")
                continue
            found[name] = self._text(part["value"])
        return found

    def _text(self, part: Part) -> Expr:
        return translated(part, lambda: values.text(part.value, self._resolve), Literal(part.value))

    def work(self, name: str, template: Part, given: dict[str, Part]) -> dict[str, Any]:
        """Returns the node without its id."""
        if template["suspend"].value is not None:
            return self._suspend(name, template)
        if template["http"]:
            return self._http(template, given)
        kind = next((kind for kind in _KINDS if template[kind]), "")
        tool = name_of(template["name"].text(name))
        if not kind:
            template.remark("a template of this kind is not known here", f"write a tool {tool!r}")
        else:
            what = "script" if kind == "script" else kind
            image = template[kind]["image"].text()
            of = f" of the image {image}" if image else ""
            template[kind].remark(
                f"the {what}{of} is not carried over: a step calls a Python function",
                f"write a tool {tool!r} that does it and returns {_returned(template)}",
            )
        for lost in (part for part in map(template.__getitem__, _POD) if part):
            lost.remark(
                f"{lost.place[-1]!r} is not carried over", "a worker runs the step: choose its pool with `lane`"
            )
        for side in ("inputs", "outputs"):
            if template[side]["artifacts"]:
                fix = "return values, or store files with s3.put and read them with s3.fetch"
                template[side]["artifacts"].remark("files between steps are not carried over", fix)
        arguments = self.arguments(parameters(template), given, argument_of)
        return {"type": "tool", "config": {"tool_name": tool, "tool_args": arguments}}

    def _suspend(self, name: str, template: Part) -> dict[str, Any]:
        wait = template["suspend"]["duration"]
        if wait:
            return {"type": "wait", "config": {"duration": duration_ms(wait)}}
        if template["outputs"]["parameters"]:
            fix = f"send the values: agentctl workflow signal RUN {name_of(name)} --payload JSON"
            template["suspend"].remark("the supplied values come as a signal", fix)
            return {"type": "signal", "config": {"signal": name_of(name)}}
        return {"type": "approval", "config": {"message": f"Go on with {name}?"}}

    def _http(self, template: Part, given: dict[str, Part]) -> dict[str, Any]:
        http = template["http"]
        inner = self.arguments(parameters(template), given)

        def resolve(parts: tuple[str, ...]) -> Expr:
            if parts[:2] == ("inputs", "parameters") and (name := name_of(parts[2])) in inner:
                return _given(inner[name])
            return self._resolve(parts)

        def text(part: Part) -> Any:
            return value(translated(part, lambda: values.text(part.value, resolve), Literal(part.value)))

        method = http["method"].text("GET").lower()
        arguments: dict[str, Any] = {"url": text(http["url"])}
        if http["headers"]:
            arguments["headers"] = {item["name"].text(): text(item["value"]) for item in http["headers"].items()}
        if http["body"]:
            arguments["body"] = text(http["body"])
        if method != "get":
            http["method"].remark(f"the built-in tools only read: there is no http.{method}", "write that tool")
        if http["successCondition"]:
            http["successCondition"].remark("a status below 400 is a success here", "test `output.status` behind it")
        return {"type": "tool", "config": {"tool_name": f"http.{method}", "tool_args": arguments}}


def _given(argument: Any) -> Expr:
    """Returns an argument that was written already as an expression again."""
    text = argument if isinstance(argument, str) else ""
    match = re.fullmatch(r"(?:\{\{)?([A-Za-z_][\w.]*)(?:\}\})?", text)
    if match is not None and (text.startswith("{{") or ".output" in text):
        root, *path = match[1].split(".")
        return Ref(root, tuple(path))
    return Literal(argument)


def _returned(template: Part) -> str:
    names = [name_of(part["name"].text()) for part in template["outputs"]["parameters"].items()]
    return "{" + ", ".join(["result", *names]) + "}"


def policy_of(template: Part, defaults: Part) -> dict[str, Any]:
    """Returns the policy of a template: retries and time limits."""
    policy: dict[str, Any] = {}
    strategy = template["retryStrategy"] if template["retryStrategy"] else defaults["retryStrategy"]
    if strategy.value is not None:
        policy["retry"] = _retry(strategy, policy)
    if template["activeDeadlineSeconds"]:
        policy["timeout_ms"] = int(template["activeDeadlineSeconds"].number() * 1000)
    if "{{" in template["timeout"].text():
        template["timeout"].remark("a time limit that is computed is not carried over", "set `total_timeout_ms`")
    elif template["timeout"]:
        policy["total_timeout_ms"] = duration_ms(template["timeout"])
    return policy


def _retry(strategy: Part, policy: dict[str, Any]) -> dict[str, Any]:
    limit = strategy["limit"]
    if not limit:
        strategy.remark("there was no limit of attempts; here there are at most 100", "set `max_attempts`")
    retry: dict[str, Any] = {"max_attempts": max(1, min(100, int(limit.number(99)) + 1))}
    backoff = strategy["backoff"]
    first = duration_ms(backoff["duration"]) if backoff["duration"] else 0
    grows = backoff["factor"].number(1) > 1
    retry |= {"backoff": "exponential" if grows else "fixed", "initial_ms": min(first, 3_600_000), "jitter": 0}
    if grows and backoff["factor"].number() != 2:
        backoff["factor"].remark("the delay doubles here, whatever the factor", "set `initial_ms` and `max_ms`")
    if backoff["cap"]:
        retry["max_ms"] = duration_ms(backoff["cap"])
    if backoff["maxDuration"]:
        policy["total_timeout_ms"] = duration_ms(backoff["maxDuration"])
    if strategy["retryPolicy"].text("Always") not in {"Always", "OnFailure"}:
        strategy["retryPolicy"].remark("all errors are tried again here", "name error types in `retry.on`")
    if strategy["expression"]:
        strategy["expression"].remark("a condition of a retry is not carried over", "name error types in `retry.on`")
    return retry
