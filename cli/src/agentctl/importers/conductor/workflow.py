"""Workflows of Conductor: tasks in order, with switches, forks, joins and loops. Pure."""

from __future__ import annotations

import json
import re
from functools import reduce
from typing import Any, Final

from agentctl.importers.conductor import values
from agentctl.importers.conductor.tasks import Tasks, policy_of
from agentctl.importers.expression import (
    Expr,
    Fields,
    Literal,
    Op,
    Ref,
    UntranslatableError,
    either,
    negated,
    part_of,
    value,
)
from agentctl.importers.flow import ITERATIONS, LEVELS_MAX, START, Flow, item_of, name_of, names_at, translated
from agentctl.importers.infix import Parts
from agentctl.importers.source import Part

_INPUT: Final = re.compile(r"workflow\.input\.([A-Za-z_]\w*)")
_BODIES: Final = frozenset({"tool", "function", "llm", "subworkflow", "map"})
_LOST: Final = {
    "workflowStatusListenerEnabled": "watch runs with a webhook",
    "onStateChange": "watch runs with a webhook",
    "cacheConfig": "only answers of models are cached here",
}


def convert(source: Part) -> list[Flow]:
    """Returns the workflow, and the subworkflows that stand in it."""
    if "tasks" not in source:
        raise source.wrong("there are no `tasks`", "give the JSON of one workflow definition of Conductor")
    found: list[Flow] = []
    _Workflow(source, found)
    return found


class _Workflow:
    """One workflow definition."""

    def __init__(self, source: Part, found: list[Flow], name: str = "") -> None:
        self.source, self.found = source, found
        self.flow = Flow(name or source["name"].text("imported"), source, source["description"].text())
        found.append(self.flow)
        self.kinds: dict[str, str] = {}  # the type of each task
        self.ids: dict[str, str] = {}
        self.each: dict[str, int] = {}  # the level of each loop over items that is being read
        self.joins: dict[str, list[str]] = {}  # the tasks that each join waits for
        self.whole = "workflow.input}" in json.dumps(source.value, default=str)  # the inputs are read as one value
        self.variables: dict[str, Expr] = {name: Literal(item.value) for name, item in source["variables"].fields()}
        self._head()
        self.tasks = Tasks(self.resolve, self.kinds)
        self.sequence(START, source["tasks"])
        for output, item in source["outputParameters"].fields():
            self.flow.outputs[name_of(output)] = value(self._output_value(item))
        if source["failureWorkflow"]:
            self._on_failure(source["failureWorkflow"], source["failureWorkflowVersion"].text())

    def _on_failure(self, part: Part, version: str) -> None:
        """Starts another workflow when the run has not completed."""
        name = name_of(part.text())
        given = {
            "reason": "{{outcome.error.message or outcome.reason}}",
            "workflowId": "{{run}}",
            "failureStatus": "{{outcome.status}}",
            "failureTaskId": "{{outcome.step}}",
        }
        part.remark(
            f"the failure workflow gets {', '.join(given)}, and not the inputs of this one",
            "let `inputs` name those that it declares",
        )
        config = {"workflow": f"{name}@{version}" if version else name, "inputs": given, "detached": True}
        node = {"type": "subworkflow", "condition": "outcome.status != 'completed'", "config": config}
        self.flow.ending(part).then(START, f"on_failure_{name}", node, part)

    def _output_value(self, item: Part) -> Expr:
        return translated(item, lambda: values.read(item.value, self.resolve), Literal(None))

    def _head(self) -> None:
        source, flow = self.source, self.flow
        source.not_carried(_LOST)
        names = [item.text() for item in source["inputParameters"].items()]
        used = _INPUT.findall(json.dumps(source.value, default=str))
        for name in () if self.whole else dict.fromkeys([*names, *used]):
            default = source["inputTemplate"][name].value
            flow.inputs[name_of(name)] = {"type": "any"} | (
                {"required": False} if default is None else {"default": default}
            )
        if source["timeoutSeconds"].number() > 0:
            flow.more["deadline_ms"] = int(source["timeoutSeconds"].number() * 1000)
            if source["timeoutPolicy"].text() == "ALERT_ONLY":
                source["timeoutPolicy"].remark(
                    "the run ends at its time limit", "remove `deadline_ms` to only watch it"
                )
        limit = source["rateLimitConfig"]
        if limit:
            read = translated(
                limit["rateLimitKey"], lambda: values.read(limit["rateLimitKey"].value, self.resolve), Literal("all")
            )
            key = value(read)
            flow.more["run_lane"] = {"key": str(key), "limit": max(1, int(limit["concurrentExecLimit"].number(1)))}

    def resolve(self, parts: Parts) -> Expr:  # noqa: PLR0911  (a table of cases)
        """Returns the meaning of `${a.b.c}`."""
        match parts:
            case ("workflow", "input"):
                return Ref("inputs")
            case ("workflow", "input", *path) if self.whole:
                return Ref("inputs", tuple(path))
            case ("workflow", "input", name, *path):
                return Ref(name_of(str(name)), tuple(path))
            case ("workflow", "variables", name, *path) if name in self.variables:
                return part_of(self.variables[str(name)], tuple(path))
            case ("workflow", "workflowId" | "correlationId"):
                return Ref("run")
            case ("workflow", "workflowType"):
                return Ref("workflow")
            case (task, "output", "loopItem", *path) if task in self.each:
                return Ref(item_of(self.each[str(task)]), tuple(path))
            case (task, "output", "loopIndex") if task in self.each:
                return Ref(item_of(self.each[str(task)], "index"))
            case (task, "output", *path) if task in self.ids:
                return self._output(str(task), tuple(path))
        raise UntranslatableError(f"{'.'.join(map(str, parts))!r} is not known here")

    def _output(self, task: str, path: Parts) -> Expr:
        kind = self.kinds[task]
        if kind == "JOIN" and path and path[0] in self.ids:
            return self._output(str(path[0]), path[1:])
        if kind == "EXCLUSIVE_JOIN":
            ran = [self._output(name, path) for name in self.joins.get(task, []) if name in self.ids]
            return reduce(lambda first, other: Op("first", (other, first)), ran) if ran else Literal(None)
        if kind == "JOIN":
            waited = [name for name in self.joins.get(task, []) if name in self.ids]
            return Fields(tuple((name, self._output(name, ())) for name in waited))
        return Ref(self.ids[task], ("output", *self.tasks.path_of(kind, path)))

    def sequence(self, before: str, tasks: Part) -> str:
        """Adds tasks in order, and returns what follows them follows."""
        items = list(tasks.items())
        for number, task in enumerate(items):
            kind = task["type"].text("SIMPLE")
            if kind == "FORK_JOIN":
                join = items[number + 1] if number + 1 < len(items) else None
                before = self._fork(before, task, join if join is not None and join["type"].text() == "JOIN" else None)
            else:
                before = self._task(before, task, kind)
            if before == "":
                for other in items[number + 1 :]:
                    other.remark("this task can't be reached", "remove it")
                break
        return before

    def _task(self, before: str, task: Part, kind: str) -> str:
        reference = task["taskReferenceName"].text() or task["name"].text("task")
        self.kinds.setdefault(reference, kind)
        task.not_carried({name: _LOST[name] for name in ("onStateChange", "cacheConfig")})
        if task["startDelay"].number() > 0:
            before = self.flow.then(before, f"delay_{reference}", _wait(int(task["startDelay"].number() * 1000)), task)
        if kind in {"JOIN", "NOOP", "EXCLUSIVE_JOIN"}:
            self.ids[reference] = before
            self.joins.setdefault(reference, [item.text() for item in task["joinOn"].items()])
            return before
        if kind in {"SWITCH", "DECISION"}:
            return self._switch(before, task, kind)
        if kind == "DO_WHILE":
            return self._loop(before, task, reference)
        if kind == "TERMINATE":
            self.flow.then(before, reference, self.tasks.end(task), task)
            return ""
        if kind == "SUB_WORKFLOW" and "workflowDefinition" in task["subWorkflowParam"]:
            inner = task["subWorkflowParam"]["workflowDefinition"]
            if isinstance(inner.value, dict):
                _Workflow(inner, self.found, name_of(inner["name"].text() or f"{self.flow.name}_{reference}"))
        node = self.tasks.node(task, kind, reference)
        policy = policy_of(task)
        if policy and node["type"] not in {"wait", "signal"}:
            node["policy"] = {**node.get("policy", {}), **policy}
        found = self.flow.then(before, reference, node, task)
        self.ids[reference] = found
        if kind == "SET_VARIABLE":
            for name, _ in task["inputParameters"].fields():
                self.variables[name] = Ref(found, ("output", name))
        return found

    def _switch(self, before: str, task: Part, kind: str) -> str:
        parameters = self.tasks.parameters(task)
        case = self._case(task, kind, parameters)
        choice = self.flow.then(before, "choice", None, task)
        after = self.flow.add("then", None, task)
        taken: Expr | None = Literal(False)
        known = dict(self.variables)
        merged = dict(known)
        for name, branch in task["decisionCases"].fields():
            when = _equals(case, name)
            taken = when if taken == Literal(False) else either(taken, when)
            self._branch(choice, branch, when, after, known, merged)
        default = task["defaultCase"]
        self._branch(choice, default, negated(taken) if task["decisionCases"] else None, after, known, merged)
        self.variables = merged
        return after

    def _branch(
        self, choice: str, branch: Part, when: Expr | None, after: str, known: dict[str, Expr], merged: dict[str, Expr]
    ) -> None:
        if not branch:
            self.flow.link(choice, after, when)
            return
        self.variables = dict(known)
        entry = self.flow.then(choice, "case", None, branch, when)
        end = self.sequence(entry, branch)
        if end:
            self.flow.link(end, after)
        for name, expr in self.variables.items():
            if expr != known.get(name):
                merged[name] = Op("first", (expr, merged[name])) if name in merged else expr

    def _case(self, task: Part, kind: str, parameters: dict[str, Expr]) -> Expr:
        expression = task["expression"] if kind == "SWITCH" else task["caseExpression"]
        if kind == "SWITCH" and task["evaluatorType"].text("value-param") != "value-param":
            return translated(expression, lambda: values.javascript(expression.text(), parameters), Literal(None))
        if kind == "DECISION" and expression:
            return translated(expression, lambda: values.javascript(expression.text(), parameters), Literal(None))
        name = expression.text() if kind == "SWITCH" else task["caseValueParam"].text()
        if name not in parameters:
            task.remark(f"{name!r} is not one of the switch's parameters", "write the conditions of the edges")
        return parameters.get(name, Literal(None))

    def _fork(self, before: str, task: Part, join: Part | None) -> str:
        after = self.flow.add("then", None, join if join is not None else task)
        wanted = {item.text() for item in join["joinOn"].items()} if join is not None else set()
        for branch in task["forkTasks"].items():
            end = self.sequence(before, branch)
            last = [item["taskReferenceName"].text() for item in branch.items()][-1:]
            if wanted and not set(last) <= wanted:
                branch.remark("the join did not wait for this branch; here it does", "let no edge lead from it")
            if end:
                self.flow.link(end, after)
        if join is not None:
            reference = join["taskReferenceName"].text()
            self.kinds[reference], self.ids[reference], self.joins[reference] = "JOIN", after, sorted(wanted)
        return after

    def _loop(self, before: str, task: Part, reference: str) -> str:
        if task["items"]:
            return self._for_each(before, task, reference)
        parameters = self.tasks.parameters(task)
        entry = self.flow.then(before, "again", None, task)
        end = self.sequence(entry, task["loopOver"])
        if not end:
            return end
        counter = Ref("iteration")
        names = {
            name: Ref(step, ("output", *self.tasks.path_of(self.kinds[name], ()))) for name, step in self.ids.items()
        }
        own = {reference: Fields((("iteration", counter),))}
        condition = task["loopCondition"]

        def bounded() -> tuple[Expr | None, int]:
            return values.rounds(values.javascript(condition.text(), {**parameters, **names, **own}), counter)

        try:
            when, back = bounded()
        except UntranslatableError as error:
            condition.remark(f"the loop's condition is not translated: {error}", "write it on the edge that goes back")
            when, back = Literal(False), ITERATIONS
        if back == ITERATIONS:
            condition.remark(f"the loop had no plain bound; here it ends after {ITERATIONS:,} rounds",
                             "set `max_iterations` of the edge that goes back")  # fmt: skip
        if back > 0:
            self.flow.link(end, entry, when, min(back, ITERATIONS))
        self.ids[reference] = end
        return end

    def _for_each(self, before: str, task: Part, reference: str) -> str:
        self.kinds[reference] = "EACH"
        config, policy = self._mapped(task, reference, 1)
        node = {"type": "map", "config": config, **({"policy": policy} if policy else {})}
        self.ids[reference] = self.flow.then(before, reference, node, task)
        return self.ids[reference]

    def _mapped(self, task: Part, reference: str, level: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the map that a loop over items is, and the policy of its calls. level: 2 for a loop in a loop."""
        over = translated(task["items"], lambda: values.read(task["items"].value, self.resolve), Literal([]))
        config: dict[str, Any] = {"over": value(over), **names_at(level), "concurrency": 1}
        tasks = [item for item in task["loopOver"].items() if item["type"].text() != "JOIN"]
        self.each[reference] = level
        only = self._only(tasks[0], level) if len(tasks) == 1 else None
        del self.each[reference]
        if only is None:
            task.remark("a loop over items with several tasks is not carried over", "put them into a subworkflow")
            inputs = {"item": f"{{{{{item_of(level)}}}}}"}
            work = {
                "type": "subworkflow",
                "config": {"workflow": name_of(f"{self.flow.name}_{reference}"), "inputs": inputs},
            }
            return {**config, "body": work}, {}
        work, policy = only
        if policy.pop("on_failure", "") == "continue":
            config["on_item_failure"] = "continue"
        return {**config, "body": work}, policy

    def _only(self, task: Part, level: int) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Returns the body of a loop over items that has one task, and the policy of its calls."""
        kind = task["type"].text("SIMPLE")
        reference = task["taskReferenceName"].text() or task["name"].text("task")
        self.kinds.setdefault(reference, kind)
        if kind == "DO_WHILE":
            if not task["items"] or level == LEVELS_MAX:
                return None
            config, policy = self._mapped(task, reference, level + 1)
            return {"type": "map", "config": config}, policy
        node = self.tasks.node(task, kind, reference, level + 1)
        if node["type"] not in _BODIES or (node["type"] == "map" and level == LEVELS_MAX):
            return None
        return {name: node[name] for name in ("type", "config")}, policy_of(task)


def _wait(duration_ms: int) -> dict[str, Any]:
    return {"type": "wait", "config": {"duration": duration_ms}}


def _equals(case: Expr, name: str) -> Expr:
    """Returns whether a case is taken. Cases are texts; a condition gives true or false."""
    if name in {"true", "false"}:
        if isinstance(case, Op) and case.name in {"==", "!=", "<", "<=", ">", ">=", "and", "or", "not"}:
            return case if name == "true" else negated(case)
        return Op("==", (Op("text", (case,)), Literal(name)))
    is_number = re.fullmatch(r"-?\d+", name) is not None
    return Op("==", (Op("text", (case,)) if is_number else case, Literal(name)))
