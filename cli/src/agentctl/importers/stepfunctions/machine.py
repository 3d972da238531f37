"""State machines: each state is a step, and the document between them is what earlier steps have returned. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from agentctl.importers.documents import Document, merged, settled, whole_of
from agentctl.importers.expression import (
    Expr,
    Fields,
    Items,
    Literal,
    Op,
    Ref,
    both,
    negated,
    value,
)
from agentctl.importers.flow import LEVELS_MAX, START, Flow, item_of, name_of, names_at, translated
from agentctl.importers.infix import Parts
from agentctl.importers.source import Part
from agentctl.importers.stepfunctions import tasks, values
from agentctl.importers.stepfunctions.values import Scope

_INPUT: Final = Ref("inputs")
_OF_STEPS: Final = (  # fields that a state has by a step of its own
    "InputPath", "ResultPath", "ResultSelector", "OutputPath", "Output", "Assign", "Retry", "Catch", "TimeoutSeconds",
    "HeartbeatSeconds",
)  # fmt: skip
_PLACEHOLDER: Final = re.compile(r"\$\{[A-Za-z]\w*\}")


def convert(source: Part) -> list[Flow]:
    """Returns the workflow, and a subworkflow for each map of several states."""
    if "States" not in source or "StartAt" not in source:
        raise source.wrong(
            "there are no `States` and `StartAt`", "give one state machine of the Amazon States Language"
        )
    name = name_of(source["Comment"].text("state_machine"))[:40]
    if names := sorted(set(_PLACEHOLDER.findall(json.dumps(source.value, default=str)))):
        source.remark(
            f"the placeholders {', '.join(names[:10])} stay as they are", "put their values in, or make them inputs"
        )
    carried: dict[tuple[str | int, ...], list[Document]] = {}
    for _ in range(2):  # the second time with what the loops carry back to their first state
        flow = Flow(name, source, source["Comment"].text())
        flows = [flow]
        machine = Machine(flow, flows, carried)
        ends = machine.build(source, START, Document(_INPUT), _INPUT)
        if ends:
            flow.outputs = merged([document for _, document in ends]).outputs()
        if source["TimeoutSeconds"]:
            flow.more["deadline_ms"] = int(source["TimeoutSeconds"].number() * 1000)
        carried = machine.back
    return flows


class Machine:
    """The states of one flow."""

    def __init__(self, flow: Flow, flows: list[Flow], carried: dict[tuple[str | int, ...], list[Document]]) -> None:
        self.flow, self.flows, self.carried = flow, flows, carried
        self.back: dict[tuple[str | int, ...], list[Document]] = {}

    def build(self, source: Part, before: str, document: Document, start: Expr) -> list[tuple[str, Document]]:
        """Adds the states of a machine, and returns where it ends, each end with its document."""
        return _Run(self, source, start).run(before, document)


class _Run:
    """The states of one machine, of a branch or of a map."""

    def __init__(self, machine: Machine, source: Part, start: Expr) -> None:
        self.machine, self.flow, self.source, self.start = machine, machine.flow, source, start
        self.states = dict(source["States"].fields())
        self.entries: dict[str, str] = {}
        self.known: dict[str, list[Document]] = {}
        self.done: set[str] = set()
        self.ends: list[tuple[str, Document]] = []
        self.handlers: dict[str, Callable[[str, Part, str, Document], None]] = {
            "Task": self._work, "Map": self._work, "Pass": self._pass, "Choice": self._choice, "Wait": self._wait,
            "Succeed": self._succeed, "Fail": self._fail, "Parallel": self._parallel,
        }  # fmt: skip

    def run(self, before: str, document: Document) -> list[tuple[str, Document]]:
        first = self.source["StartAt"].text()
        if first not in self.states:
            raise self.source["StartAt"].wrong(f"there is no state {first!r}", "name one of `States`")
        self.known[first] = [document]
        for name in self._order(first):
            part = self.states[name]
            entry = self._entry(name)
            if name == first:
                self.flow.link(before, entry)
            ways = merged(self.known.get(name, [document]), self.machine.carried.get(part.place, []))
            here = settled(ways, self.flow, entry)
            kind = part["Type"].text()
            if kind not in self.handlers:
                raise part["Type"].wrong(f"{kind!r} is not a type of state", f"use one of {', '.join(self.handlers)}")
            self.done.add(name)
            self.handlers[kind](name, part, entry, here)
        for name, part in self.states.items():
            if name not in self.done:
                part.remark(f"no state leads to {name!r}, so it is left out", "let a state lead to it, or ignore it")
        return self.ends

    def _order(self, first: str) -> list[str]:
        """Returns the states so that each comes after those that lead to it, except in loops."""
        found: list[str] = []
        seen = {first}
        stack = [(first, iter(self._next(first)))]
        while stack:
            name, following = stack[-1]
            other = next(following, None)
            if other is None:
                stack.pop()
                found.append(name)
            elif other not in seen and other in self.states:
                seen.add(other)
                stack.append((other, iter(self._next(other))))
        return found[::-1]

    def _next(self, name: str) -> list[str]:
        part = self.states[name]
        caught = [] if part["Type"].text() == "Parallel" else part["Catch"].items()
        ways = [part, *part["Choices"].items(), *caught]
        return [text for way in ways for key in ("Next", "Default") if (text := way[key].text())]

    def _entry(self, name: str) -> str:
        if name not in self.entries:
            self.entries[name] = self.flow.add(f"enter {name}", None, self.states[name])
        return self.entries[name]

    def _go(self, step: str, part: Part, document: Document, when: Expr | None = None, field: str = "Next") -> None:
        """Leads from a step to the next state, or to the end."""
        name = part[field].text()
        if not name:
            end = self.flow.then(step, "leave", None, part, when) if when is not None else step
            self.ends.append((end, document))
            return
        if name not in self.states:
            raise part[field].wrong(f"there is no state {name!r}", "name one of `States`")
        if name in self.done:
            self.machine.back.setdefault(self.states[name].place, []).append(document)
        self.known.setdefault(name, []).append(document)
        self.flow.link(step, self._entry(name), when)

    def _scope(self, name: str, document: Document, result: Expr | None = None, error: Expr | None = None) -> Scope:
        return Scope(document, self.start, name, 0, result, error)

    def _path(self, part: Part, field: str, scope: Scope, document: Document) -> Document:
        """Returns the document that `InputPath` or `OutputPath` leaves."""
        path = part[field]
        if field in part and path.value is None:
            return Document(Literal({}), (), document.variables)
        if not path or path.text() == "$":
            return document
        found = translated(path, lambda: values.expression(path.text(), scope), Literal(None))
        return Document(found, (), document.variables)

    def _pass(self, name: str, part: Part, entry: str, document: Document) -> None:
        scope = self._scope(name, document)
        given = self._path(part, "InputPath", scope, document)
        field = next((field for field in ("Result", "Parameters", "Output") if field in part), "")
        if not field:
            after = self._put(part, document, None if given == document else whole_of(given, part))
            self._go(entry, part, self._assigned(part, scope, self._path(part, "OutputPath", scope, after)))
            return
        inner = self._scope(name, given)
        read = Literal(part[field].value) if field == "Result" else values.payload(part[field], inner)
        node = {"type": "function", "config": {"function_name": "pick", "function_args": {"value": value(read)}}}
        step = self.flow.then(entry, name, node, part)
        result: Expr = Ref(step, ("output",))
        if isinstance(read, Fields):
            result = Fields(tuple((field, Ref(step, ("output", field))) for field, _ in read.fields))
        after = self._put(part, document, result)
        self._go(step, part, self._assigned(part, scope, after))

    def _put(self, part: Part, document: Document, result: Expr | None) -> Document:
        """Returns the document with a result where `ResultPath` says."""
        if result is None or ("ResultPath" in part and part["ResultPath"].value is None):
            return document
        return document.put(_plain_path(part["ResultPath"]), result)

    def _assigned(self, part: Part, scope: Scope, document: Document) -> Document:
        for name, item in part["Assign"].fields():
            read = values.payload(item, scope, is_path=name.endswith(".$"))
            document = document.assign(name.removesuffix(".$"), read)
        return document

    def _work(self, name: str, part: Part, entry: str, document: Document) -> None:
        scope = self._scope(name, document)
        given = self._path(part, "InputPath", scope, document)
        inner = self._scope(name, given)
        kind = part["Type"].text()
        made = self._mapped(name, part, inner) if kind == "Map" else tasks.work(name, part, inner)
        node = {**made.node}
        policy = tasks.policy_of(part, heartbeat=node["type"] in {"tool", "function"})
        if part["Catch"]:
            policy["on_failure"] = "continue"
        if policy and node["type"] != "signal":
            node["policy"] = policy
        step = self.flow.then(entry, name, node, part)
        if made.signal:
            signal = {"type": "signal", "config": {"signal": name_of(name)}}
            waited = self.flow.then(step, f"{name} answered", signal, part)
            result: Expr = Ref(waited, ("output",))
        else:
            waited, result = step, made.result(Ref(step, ("output",)))
        scope = self._scope(name, document, result)
        after = self._result(part, scope, document, result)
        good = Op("!=", (Ref(step, ("status",)), Literal("failed"))) if part["Catch"] else None
        self._caught(name, part, step, document)
        self._go(waited, part, after, good)

    def _result(self, part: Part, scope: Scope, document: Document, result: Expr) -> Document:
        """Returns the document behind a state that did something."""
        selected = part["ResultSelector"]
        if selected:
            inner = Scope(Document(result), self.start, scope.state)
            result = values.payload(selected, inner)
        if "Output" in part:
            return self._assigned(part, scope, document.put((), values.payload(part["Output"], scope)))
        after = self._put(part, document, result)
        after = self._assigned(part, scope, after)
        return self._path(part, "OutputPath", Scope(after, self.start, scope.state), after)

    def _caught(self, name: str, part: Part, step: str, document: Document) -> None:
        kind = Ref(step, ("error", "type"))
        error = Fields((("Error", kind), ("Cause", Ref(step, ("error", "message")))))
        failed: Expr = Op("==", (Ref(step, ("status",)), Literal("failed")))
        others: Expr | None = failed
        for catch in part["Catch"].items():
            names = tasks.error_types(catch["ErrorEquals"])
            when = both(others, Op("in", (kind, Literal(names))) if names else None)
            others = both(others, Op("not", (Op("in", (kind, Literal(names))),))) if names else None
            scope = self._scope(name, document, None, error)
            after = self._put(catch, document, error)
            if "Output" in catch:
                after = document.put((), values.payload(catch["Output"], scope))
            self._go(step, catch, self._assigned(catch, scope, after), when)
            if others is None:
                return
        if part["Catch"] and others is not None:
            message = {"type": "uncaught", "message": "{{" + f"{step}.error.message" + "}}"}
            self.flow.then(step, f"{name} failed", {"type": "end", "config": {"status": "failed", "error": message}},
                           part, others)  # fmt: skip

    def _mapped(self, name: str, part: Part, scope: Scope, level: int = 1, around: str = "") -> tasks.Made:
        """Returns a map, and what its result is. level: 2 for a map in a map, and so on."""
        items = part["ItemsPath"] if part["ItemsPath"] else part["Items"]
        if not items:
            over = whole_of(scope.document, part)
        else:
            over = values.payload(items, scope, is_path=True)
            over = Literal([]) if over == Literal(None) else over
        part.not_carried({"ItemReader": "read the list in a step before",
                          "ResultWriter": "store the results in a step behind"})  # fmt: skip
        inner = part["ItemProcessor"] or part["Iterator"]
        chosen = part["ItemSelector"] or part["Parameters"]
        each = Scope(scope.document, self.start, name, level)
        item: Expr = Ref(item_of(level))
        if chosen:
            item = values.payload(chosen, each)
        body, of = self._body(around + name, inner, item, level)
        config: dict[str, Any] = {"over": value(over), **names_at(level), "body": body}
        if part["ItemBatcher"]["MaxItemsPerBatch"].number() > 0:
            config["batches"] = int(part["ItemBatcher"]["MaxItemsPerBatch"].number())
            part["ItemBatcher"].remark(
                "a batch is a list here, without `Items` around it", "read it as a list in the tool"
            )
        if part["MaxConcurrency"].number() > 0:
            config["concurrency"] = int(part["MaxConcurrency"].number())
        if part["ToleratedFailurePercentage"].number() > 0:
            config |= {"on_item_failure": "continue", "max_failures": part["ToleratedFailurePercentage"].number() / 100}
            if config["max_failures"] >= 1:
                del config["max_failures"]
        elif part["ToleratedFailureCount"].number() > 0:
            config |= {"on_item_failure": "continue", "max_failures": part["ToleratedFailureCount"].number()}
        return tasks.Made({"type": "map", "config": config}, of)

    def _body(self, name: str, inner: Part, item: Expr, level: int) -> tuple[dict[str, Any], Callable[[Expr], Expr]]:
        """Returns the body of a map, and what its results are made of the node's output."""
        states = list(inner["States"].fields())
        if len(states) == 1 and not any(field in states[0][1] for field in _OF_STEPS):
            made = self._only(*states[0], item, level, f"{name}_")
            if made is not None and not made.signal and made.result(Ref("x")) == Ref("x"):
                return made.node, lambda output: output
        child = Flow(name_of(f"{self.flow.name}_{name}"), inner, inputs={"value": {"type": "any"}})
        self.machine.flows.append(child)
        machine = Machine(child, self.machine.flows, self.machine.carried)
        ends = machine.build(inner, START, Document(Ref("value")), Ref("value"))
        child.outputs = merged([document for _, document in ends]).outputs() if ends else {}
        self.machine.back.update(machine.back)
        given = {"value": value(item)}
        body = {"type": "subworkflow", "config": {"workflow": child.name, "inputs": given}}
        if list(child.outputs) == ["result"]:
            return body, lambda output: Op("each", (output, Literal("result")))
        return body, lambda output: output

    def _only(self, name: str, state: Part, item: Expr, level: int, around: str) -> tasks.Made | None:
        """Returns what the only state of a map's machine is in the map; None if it needs a workflow of its own."""
        scope = Scope(Document(item), self.start, name, level)
        if state["Type"].text() == "Task":
            return tasks.work(name, state, scope)
        if state["Type"].text() != "Map" or level == LEVELS_MAX:
            return None
        known = len(self.machine.flows)
        made = self._mapped(name, state, scope, level + 1, around)
        if made.result(Ref("x")) != Ref("x"):
            del self.machine.flows[known:]  # those of a body that is not used
        return made

    def _parallel(self, name: str, part: Part, entry: str, document: Document) -> None:
        scope = self._scope(name, document)
        given = self._path(part, "InputPath", scope, document)
        field = "Parameters" if "Parameters" in part else "Arguments"
        if field in part:
            inner = self._scope(name, given)
            given = Document(values.payload(part[field], inner), (), given.variables)
        part.not_carried({"Catch": "give the steps of the branches `on_failure: continue` and test their status",
                          "Retry": "give the steps of the branches `retry`"})  # fmt: skip
        meeting = self.flow.add(f"all of {name}", None, part)
        results: list[Expr] = []
        for branch in part["Branches"].items():
            run = _Run(self.machine, branch, self.start)
            ends = run.run(entry, given)
            for step, _ in ends:
                self.flow.link(step, meeting)
            results.append(whole_of(merged([found for _, found in ends]), branch) if ends else Literal(None))
        result = Items(tuple(results))
        self._go(meeting, part, self._result(part, self._scope(name, document, result), document, result))

    def _choice(self, name: str, part: Part, entry: str, document: Document) -> None:
        scope = self._scope(name, document)
        given = self._path(part, "InputPath", scope, document)
        inner = self._scope(name, given)
        rules = [
            (rule, translated(rule, partial(values.rule, rule, inner), Literal(False), "the rule"))
            for rule in part["Choices"].items()
        ]
        exclusive = values.exclusive([when for _, when in rules])
        before: Expr | None = None
        for rule, when in rules:
            taken = when if exclusive or before is None else both(negated(before), when)
            after = self._assigned(rule, inner, document)
            self._go(entry, rule, after, taken)
            before = when if before is None else Op("or", (before, when))
        if part["Default"]:
            self._go(entry, part, self._assigned(part, inner, document), negated(before), "Default")
        else:
            part.remark("no `Default`: without a rule that fits, the run failed; here it ends there",
                        "add an `end` node with `status: failed`")  # fmt: skip

    def _wait(self, name: str, part: Part, entry: str, document: Document) -> None:
        scope = self._scope(name, document)
        config: dict[str, Any] = {"duration": 0}
        for field, kind in (
            ("Seconds", "duration"),
            ("SecondsPath", "duration"),
            ("Timestamp", "until"),
            ("TimestampPath", "until"),
        ):
            if field not in part:
                continue
            found = values.payload(part[field], scope, is_path=field.endswith("Path"))
            if kind == "duration":
                seconds = found.value if isinstance(found, Literal) else None
                is_plain = isinstance(seconds, int | float)
                found = Literal(int(float(seconds or 0) * 1000)) if is_plain else Op("*", (found, Literal(1000)))
            config = {kind: value(found)}
        step = self.flow.then(entry, name, {"type": "wait", "config": config}, part)
        self._go(step, part, self._assigned(part, scope, document))

    def _succeed(self, name: str, part: Part, entry: str, document: Document) -> None:
        scope = self._scope(name, document)
        if "Output" in part:
            document = document.put((), values.payload(part["Output"], scope))
        self.ends.append((entry, self._path(part, "OutputPath", scope, document)))

    def _fail(self, name: str, part: Part, entry: str, document: Document) -> None:
        scope = self._scope(name, document)

        def text(field: str, default: str) -> str:
            if f"{field}Path" in part:
                return str(value(values.payload(part[f"{field}Path"], scope, is_path=True)))
            return str(value(values.payload(part[field], scope))) if part[field] else default

        kind = name_of(text("Error", "failed"))
        error = {"type": kind, "message": text("Cause", kind)}
        self.flow.then(entry, name, {"type": "end", "config": {"status": "failed", "error": error}}, part)


def _plain_path(part: Part) -> Parts:
    text = part.text("$").removeprefix("$").removeprefix(".")
    return tuple(text.split(".")) if text else ()
