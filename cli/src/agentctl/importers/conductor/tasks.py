"""Tasks of Conductor that do one thing. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from agentctl.importers.conductor import values
from agentctl.importers.expression import Expr, Fields, Literal, Ref, UntranslatableError, condition, value
from agentctl.importers.flow import argument_of, asked, item_of, name_of, names_at, translated
from agentctl.importers.infix import Parts
from agentctl.importers.source import Part, amount

_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000}
_LLM: Final = frozenset({"LLM_CHAT_COMPLETE", "LLM_TEXT_COMPLETE"})
_BACKOFFS: Final = {"FIXED": "fixed", "LINEAR_BACKOFF": "linear", "EXPONENTIAL_BACKOFF": "exponential"}
_ENDS: Final = {"COMPLETED": "completed", "FAILED": "failed", "TERMINATED": "cancelled"}
_SYSTEM: Final = {
    "EVENT": "write a tool that publishes the event",
    "KAFKA_PUBLISH": "write a tool that publishes the message",
    "DYNAMIC": "choose between named steps with conditions",
    "FORK_JOIN_DYNAMIC": "use a map over a list",
    "HTTP_POLL": "use a loop node around http.get",
    "PULL_WORKFLOW_MESSAGES": "wait for a signal",
    "JDBC": "write a tool that asks the database",
}


class Tasks:
    """Makes the nodes of tasks."""

    def __init__(self, resolve: values.Resolve, kinds: Mapping[str, str]) -> None:
        self._resolve = resolve
        self._kinds = kinds

    def path_of(self, kind: str, path: Parts) -> Parts:  # noqa: PLR0911  (a table of cases)
        """Returns where a part of a task's output is in the output of its node."""
        match kind, path:
            case (("HTTP" | "HTTP_POLL"), ("response",)):
                return ()
            case (("HTTP" | "HTTP_POLL"), ("response", "body", *rest)):
                return ("json", *rest)
            case (("HTTP" | "HTTP_POLL"), ("response", "statusCode")):
                return ("status",)
            case (("HTTP" | "HTTP_POLL"), ("response", *_)):
                raise UntranslatableError("only the body and the status of an answer are known here")
            case (("INLINE" | "JSON_JQ_TRANSFORM"), ("result", *rest)):
                return tuple(rest)
            case ("START_WORKFLOW", ("workflowId",)):
                return ("run",)
            case (("LLM_CHAT_COMPLETE" | "LLM_TEXT_COMPLETE"), ("result", *rest)):
                return ("json", *rest) if rest else ("text",)
        return path

    def _read(self, part: Part) -> Expr:
        return translated(part, lambda: values.read(part.value, self._resolve), Literal(None))

    def parameters(self, task: Part) -> dict[str, Expr]:
        """Returns the input parameters of a task by name."""
        return {name: self._read(item) for name, item in task["inputParameters"].fields()}

    def _arguments(self, task: Part, named: Callable[[str], str] = argument_of) -> dict[str, Any]:
        return {named(name): value(expr) for name, expr in self.parameters(task).items()}

    def node(self, task: Part, kind: str, reference: str, level: int = 1) -> dict[str, Any]:  # noqa: PLR0911  (a table of cases)
        """Returns the node of a task, without its id. level: that of a map, which is 2 for a map in a map."""
        if kind == "HTTP":
            return self._http(task)
        if kind == "HTTP_POLL":
            return self._poll(task, reference)
        if kind == "FORK_JOIN_DYNAMIC" and task["inputParameters"]["forkTaskInputs"]:
            return self._dynamic(task, task["inputParameters"], level)
        if kind == "SUB_WORKFLOW":
            return self._subworkflow(task, task["subWorkflowParam"])
        if kind == "START_WORKFLOW":
            return self._started(task)
        if kind == "WAIT":
            return self._wait(task, reference)
        if kind == "HUMAN":
            fix = f"answer it with: agentctl workflow signal RUN {name_of(reference)} --payload JSON"
            task.remark("a person's answer comes as a signal", fix)
            return {"type": "signal", "config": {"signal": name_of(reference)}}
        if kind in {"INLINE", "JSON_JQ_TRANSFORM"}:
            return self._computed(task, kind, reference)
        if kind == "SET_VARIABLE":
            return {"type": "function", "config": {"function_name": "pick", "function_args": {
                "value": {name: value(expr) for name, expr in self.parameters(task).items()}}}}  # fmt: skip
        if kind in _LLM:
            return self._model(task, reference)
        return self._worker(task, kind, reference)

    def _worker(self, task: Part, kind: str, reference: str) -> dict[str, Any]:
        tool = name_of(task["name"].text(reference))
        fix = _SYSTEM.get(kind, f"write a tool {tool!r} that does what the worker did")
        task.remark(f"the worker of the task {task['name'].text()!r} ({kind}) is not carried over", fix)
        return {"type": "tool", "config": {"tool_name": tool, "tool_args": self._arguments(task)}}

    def _http(self, task: Part) -> dict[str, Any]:
        request = task["inputParameters"]["http_request"]
        request = request if request else task["inputParameters"]
        method = request["method"].text("GET").lower()
        uri = request["uri"] if request["uri"] else request["url"]
        arguments: dict[str, Any] = {"url": value(self._read(uri))}
        for name in ("headers", "body"):
            if request[name]:
                arguments[name] = value(self._read(request[name]))
        if method != "get":
            request["method"].remark(f"the built-in tools only read: there is no http.{method}", "write that tool")
        if request["readTimeOut"].number() > 0 and method == "get":
            arguments["timeout_s"] = request["readTimeOut"].number() / 1000
        return {"type": "tool", "config": {"tool_name": f"http.{method}", "tool_args": arguments}}

    def _poll(self, task: Part, reference: str) -> dict[str, Any]:
        """Returns a loop around a request, until its condition holds."""
        request = task["inputParameters"]["http_request"]
        answer = Fields((("body", Ref("previous", ("json",))), ("statusCode", Ref("previous", ("status",)))))
        output = {"output": Fields((("response", answer),))}
        try:
            until = condition(values.javascript(request["terminationCondition"].text(), output))
        except UntranslatableError as error:
            request["terminationCondition"].remark(
                f"the condition is not translated: {error}", "write `until` of a loop"
            )
            return self._worker(task, "HTTP_POLL", reference)
        every = max(1, int(request["pollingInterval"].number(60) * 1000))
        rounds = max(1, min(1_000, int(request["maxPollCount"].number(1_000))))
        config = {
            "body": self._http(task),
            "until": until,
            "delay_ms": every,
            "max_iterations": rounds,
            "on_max": "fail",
        }
        return {"type": "loop", "config": config}

    def _dynamic(self, task: Part, given: Part, level: int) -> dict[str, Any]:
        """Returns a map of the same task, or the same workflow, over a list of inputs."""
        over = value(self._read(given["forkTaskInputs"]))
        sent = {"input": f"{{{{{item_of(level)}}}}}"}
        if given["forkTaskWorkflow"]:
            of = given["forkTaskWorkflow"]
            name = name_of(of.text() if isinstance(of.value, str) else of["name"].text("imported"))
            body: dict[str, Any] = {
                "type": "subworkflow",
                "config": {"workflow": name, "inputs": sent},
            }
        else:
            name = name_of(given["forkTaskName"].text("task"))
            body = {"type": "tool", "config": {"tool_name": name, "tool_args": sent}}
        task.remark("each branch gets its input as `input`", f"let {name!r} take that argument")
        return {"type": "map", "config": {"over": over, **names_at(level), "body": body}}

    def _subworkflow(self, task: Part, child: Part) -> dict[str, Any]:
        name, version = name_of(child["name"].text("imported")), child["version"].text()
        inline = child["workflowDefinition"]["name"].text()
        wanted = name_of(inline) if inline else f"{name}@{version}" if version else name
        return {"type": "subworkflow", "config": {"workflow": wanted, "inputs": self._arguments(task, name_of)}}

    def _started(self, task: Part) -> dict[str, Any]:
        started = task["inputParameters"]["startWorkflow"]
        inputs = {name_of(name): value(self._read(item)) for name, item in started["input"].fields()}
        name, version = name_of(started["name"].text("imported")), started["version"].text()
        wanted = f"{name}@{version}" if version else name
        return {"type": "subworkflow", "config": {"workflow": wanted, "inputs": inputs, "detached": True}}

    def _wait(self, task: Part, reference: str) -> dict[str, Any]:
        given = task["inputParameters"]
        if given["duration"]:
            if "${" in given["duration"].text():
                return {"type": "wait", "config": {"duration": value(self._read(given["duration"]))}}
            found = re.findall(r"(\d+)\s*(d|h|m|s)", given["duration"].text())
            return {
                "type": "wait",
                "config": {"duration": int(sum(amount(number) * _UNITS[unit] for number, unit in found))},
            }
        if given["until"]:
            until = given["until"].text().split(" GMT")[0].strip().replace(" ", "T")
            if "${" in until:
                return {"type": "wait", "config": {"until": value(self._read(given["until"]))}}
            given["until"].remark("the time is read as UTC here", "give an offset, as 2030-01-31T09:00:00+01:00")
            return {"type": "wait", "config": {"until": until}}
        task.remark(
            "a wait without a time waits for a signal", f"send it: agentctl workflow signal RUN {name_of(reference)}"
        )
        return {"type": "signal", "config": {"signal": name_of(reference)}}

    def _computed(self, task: Part, kind: str, reference: str) -> dict[str, Any]:
        given = task["inputParameters"]
        expression = given["expression"] if kind == "INLINE" else given["queryExpression"]
        own = {"evaluatorType", "expression", "queryExpression"}
        parameters = {name: self._read(item) for name, item in given.fields() if name not in own}
        read = values.javascript if kind == "INLINE" else values.jq
        try:
            found = value(read(expression.text(), parameters))
        except UntranslatableError as error:
            language = "JavaScript" if kind == "INLINE" else "jq"
            fix = f"write a function {name_of(reference)!r} that returns it"
            expression.remark(f"this {language} is not translated: {error}", fix)
            arguments = {argument_of(name): value(expr) for name, expr in parameters.items()}
            return {"type": "function", "config": {"function_name": name_of(reference), "function_args": arguments}}
        return {"type": "function", "config": {"function_name": "pick", "function_args": {"value": found}}}

    def _model(self, task: Part, reference: str) -> dict[str, Any]:
        given = task["inputParameters"]
        found = self._messages(given["messages"]) if not given["promptName"] else None
        config = found if found is not None else self._prompt(task, given, reference)
        if given["jsonOutput"].value is True:
            config["output"] = "json"
        if given["maxTokens"].number() > 0:
            config["max_output_tokens"] = int(given["maxTokens"].number())
        if "temperature" in given:
            config["temperature"] = given["temperature"].number()
        return {"type": "llm", "config": config}

    def _messages(self, messages: Part) -> dict[str, Any] | None:
        """Returns the prompt that the texts of messages are together; None if they are no texts."""
        items = list(messages.items()) if isinstance(messages.value, list) else []
        texts = [value(self._read(item["message"])) for item in items]
        parts = [found["prompt"] if (found := asked(text)) else text for text in texts]
        if not all(isinstance(part, str) for part in parts):
            return None
        if len(items) > 1:
            messages.remark("the messages are one text here, without their roles", "write who says what into `prompt`")
        return asked("\n\n".join(parts))

    def _prompt(self, task: Part, given: Part, reference: str) -> dict[str, Any]:
        """Returns the reference to a prompt that is stored apart, and its variables."""
        prompt = name_of(given["promptName"].text(reference))
        fix = f"store it: agentctl prompt create {prompt} --template @prompt.txt"
        task.remark("the prompt's text is not carried over: prompts are stored apart", fix)
        variables = given["promptVariables"] if given["promptVariables"] else Part({}, task.place, task.remarks)
        inputs = {name_of(name): value(self._read(item)) for name, item in variables.fields()}
        return {"prompt_ref": prompt, "inputs": inputs}

    def end(self, task: Part) -> dict[str, Any]:
        """Returns the end node of a task that ends the run."""
        given = task["inputParameters"]
        status = _ENDS.get(given["terminationStatus"].text("COMPLETED"), "completed")
        config: dict[str, Any] = {"status": status}
        reason, output = given["terminationReason"], given["workflowOutput"]
        if status == "completed":
            config |= {"output": value(self._read(output))} if output else {}
        else:
            text = str(value(self._read(reason))) if reason else "terminated"
            config["error"] = {"type": "terminated", "message": text}
            if output:
                output.remark("a run that fails has no output", "put what matters into `error.message`")
        return {"type": "end", "config": config}


def policy_of(task: Part) -> dict[str, Any]:
    """Returns the policy of a task: retries, time limits, and whether the run goes on without it."""
    of = task["taskDefinition"] if task["taskDefinition"] else task
    policy: dict[str, Any] = {}
    if of["retryCount"]:
        delay = int(of["retryDelaySeconds"].number(60) * 1000)
        backoff = _BACKOFFS.get(of["retryLogic"].text("FIXED"), "fixed")
        attempts = min(100, int(of["retryCount"].number()) + 1)
        policy["retry"] = {
            "max_attempts": attempts,
            "backoff": backoff,
            "initial_ms": min(delay, 3_600_000),
            "jitter": 0,
        }
    if of["responseTimeoutSeconds"].number() > 0:
        policy["timeout_ms"] = int(of["responseTimeoutSeconds"].number() * 1000)
    if of["timeoutSeconds"].number() > 0:
        policy["total_timeout_ms"] = int(of["timeoutSeconds"].number() * 1000)
    if task["optional"].value is True:
        policy["on_failure"] = "continue"
    for name in ("concurrentExecLimit", "rateLimitPerFrequency"):
        if of[name]:
            of[name].remark(
                f"{name!r} is not carried over", "give the step a keyed lane with `lane_limit` or `lane_rate`"
            )
    return policy
