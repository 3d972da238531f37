"""Workflows of Serverless Workflow: lists of tasks that hand a document on. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
from agentctl.importers.serverless import calls, lists, values
from agentctl.importers.serverless.values import Scope
from agentctl.importers.source import Part

_INPUT: Final = Ref("inputs")
RACE: Final = {"type": "wait", "join": "any", "config": {"duration": 0}}
_LEAVE: Final = frozenset({"exit", "end"})
End = tuple[str, Document]
Carried = dict[tuple[str | int, ...], list[Document]]


def convert(source: Part) -> list[Flow]:
    """Returns the workflow, and a subworkflow for each loop with several tasks."""
    if "do" not in source:
        if "states" in source:
            raise source["states"].wrong(
                "this is Serverless Workflow 0.x", "only version 1.0 (`document` and `do`) is read"
            )
        raise source.wrong("there are no tasks in `do`", "give a workflow of Serverless Workflow 1.0")
    document = source["document"]
    schedule = source["schedule"]
    if schedule:
        schedule.remark("the schedule is not carried over", "create it with: agentctl schedule create")
    carried: Carried = {}
    for _ in range(2):  # the second time with what the loops carry back
        flow = Flow(document["name"].text("imported"), source, document["summary"].text() or document["title"].text())
        flows = [flow]
        lists.inputs(source, flow)
        builder = _Tasks(flow, flows, source["use"], _INPUT, carried)
        start = Document(_INPUT)
        if source["input"]["from"]:
            start = start.put((), values.read(source["input"]["from"], builder.scope(start), is_expression=True))
        ends = builder.run(source["do"], START, start)
        if ends:
            last = merged([found for _, found in ends])
            if source["output"]["as"]:
                read = values.read(source["output"]["as"], builder.scope(last), is_expression=True)
                last = last.put((), read)
            flow.outputs = last.outputs()
        if source["timeout"]["after"]:
            flow.more["deadline_ms"] = values.duration_ms(source["timeout"]["after"])
        carried = builder.back
    return flows


class _Tasks:
    """The tasks of one flow."""

    def __init__(self, flow: Flow, flows: list[Flow], use: Part, start: Expr, carried: Carried) -> None:
        self.flow, self.flows, self.use, self.start, self.carried = flow, flows, use, start, carried
        self.back: Carried = {}
        self.guards: list[lists.Guard] = []
        self.depth = 0
        self.handlers: dict[str, Callable[[str, Part, str, Document], list[End]]] = {
            "for": self._for, "do": self._do, "fork": self._fork, "listen": self._listen, "raise": self._raise,
            "set": self._set, "try": self._try, "wait": self._wait, "call": self._call, "run": self._call,
            "emit": self._call,
        }  # fmt: skip

    def scope(self, document: Document) -> Scope:
        return Scope(document, self.start, self.flow.name)

    def run(self, tasks: Part, before: str, document: Document) -> list[End]:
        """Adds a list of tasks, and returns where it ends."""
        self.depth += 1
        named = [values.name_and_task(item) for item in tasks.items()]
        order = [name for name, _ in named]
        entries = {name: self.flow.add(f"enter {name}", None, part) for name, part in named}
        known: dict[str, list[Document]] = {order[0]: [document]} if order else {}
        done: set[str] = set()
        ends: list[End] = [] if order else [(before, document)]
        if order:
            self.flow.link(before, entries[order[0]])

        def go(step: str, found: Document, then: str, after: int, when: Expr | None = None, *, part: Part) -> None:
            target = then if then not in {"", "continue"} else order[after] if after < len(order) else "exit"
            if target == "end" and self.depth > 1:
                self.flow.then(step, "end_run", {"type": "end", "config": {"output": found.outputs()}}, part, when)
            elif target in _LEAVE:
                end = self.flow.then(step, "leave", None, part, when) if when is not None else step
                ends.append((end, found))
            elif target in entries:
                if target in done:
                    self.back.setdefault((*tasks.place, target), []).append(found)
                known.setdefault(target, []).append(found)
                self.flow.link(step, entries[target], when)
            else:
                raise part["then"].wrong(f"there is no task {target!r} in this list", "name a task of the same `do`")

        for number in lists.order(named):
            name, part = named[number]
            done.add(name)
            back = self.carried.get((*tasks.place, name), [])
            here = settled(merged(known[name], back), self.flow, entries[name])
            self._one(name, part, entries[name], here, number + 1, go)
        for name, part in named:
            if name not in done:
                part.remark(f"nothing leads to {name!r}, so it is left out", "let a task lead to it, or ignore it")
        self.depth -= 1
        return ends

    def _one(self, name: str, part: Part, entry: str, document: Document, after: int, go: Callable[..., None]) -> None:
        then = part["then"].text()
        scope = self.scope(document)
        if part["if"]:
            text = part["if"].text()
            when = translated(part["if"], lambda: values.expression(text, scope), Literal(False), "the condition")
            go(entry, document, "", after, negated(when), part=part)
            entry = self.flow.then(entry, f"if {name}", None, part, when)
        given = document
        if part["input"]["from"]:
            given = document.put((), values.read(part["input"]["from"], scope, is_expression=True))
        if "switch" in part:
            self._switch(part, entry, given, after, go)
            return
        kind = next((kind for kind in self.handlers if kind in part), "")
        if not kind:
            raise part.wrong(f"the task {name!r} is of no known kind", f"use one of {', '.join(self.handlers)}, switch")
        for step, found in self.handlers[kind](name, part, entry, given):
            go(step, self._behind(part, document, found), then, after, part=part)

    def _behind(self, part: Part, before: Document, found: Document) -> Document:
        """Returns the document behind a task: its output, and what it exports to the context."""
        found = replace(found, variables=found.variables or before.variables)
        scope = self.scope(found)
        exported = None
        if part["output"]["as"]:
            found = found.put((), values.read(part["output"]["as"], scope, is_expression=True))
        if part["export"]["as"]:
            exported = values.read(part["export"]["as"], self.scope(found), is_expression=True)
        return found if exported is None else found.assign("context", exported)

    def _switch(self, part: Part, entry: str, document: Document, after: int, go: Callable[..., None]) -> None:
        before: Expr | None = Literal(False)
        rules: list[tuple[Part, Expr | None]] = []
        for item in part["switch"].items():
            _, case = values.name_and_task(item)
            text = case["when"]
            when = None
            if text:
                read = partial(values.expression, text.text(), self.scope(document))
                when = translated(text, read, Literal(False), "the condition")
            rules.append((case, when))
        rules.sort(key=lambda rule: rule[1] is None)  # a case without a condition is the default
        for case, when in rules:
            taken = when if before == Literal(False) else both(negated(before), when)
            go(entry, document, case["then"].text(), after, taken, part=case)
            before = None if when is None else when if before == Literal(False) else Op("or", (before or when, when))
        if before is not None:
            go(entry, document, part["then"].text(), after, negated(before), part=part)

    def _step(self, name: str, node: dict[str, Any], part: Part, entry: str, document: Document) -> str:
        """Adds a step, and returns what the next one follows: in a `try`, the step if it did not fail."""
        if part["timeout"]["after"] and node["type"] not in {"wait", "signal", "end"}:
            node["policy"] = {"total_timeout_ms": values.duration_ms(part["timeout"]["after"])}
        guard = self.guards[-1] if self.guards else None
        if guard is None or node["type"] in {"wait", "signal", "end"}:
            return self.flow.then(entry, name, node, part)
        policy = {**node.get("policy", {}), **({"retry": guard.retry} if guard.retry else {})}
        if guard.catches:
            policy["on_failure"] = "continue"
        step = self.flow.then(entry, name, {**node, "policy": policy} if policy else node, part)
        if not guard.catches:
            return step
        failed = Op("==", (Ref(step, ("status",)), Literal("failed")))
        self.flow.link(step, guard.step, failed)
        guard.failed.append((step, document))
        return self.flow.then(step, f"after {name}", None, part, negated(failed))

    def _call(self, name: str, part: Part, entry: str, document: Document) -> list[End]:
        made = calls.work(name, part, self.scope(document), self.use)
        policy = {"retry": {"max_attempts": 1}}
        step = self._step(name, {**made.node, "policy": policy}, part, entry, document)
        if made.keeps:
            return [(step, document)]
        return [(step, document.put((), made.result(Ref(self._newest(), ("output",)))))]

    def _newest(self) -> str:
        """Returns the id of the step that was added last, whatever else was put behind it."""
        return next(other.id for other in reversed(self.flow.steps.values()) if other.node is not None)

    def _set(self, name: str, part: Part, entry: str, document: Document) -> list[End]:
        found = values.read(part["set"], self.scope(document))
        node = {"type": "function", "config": {"function_name": "pick", "function_args": {"value": value(found)}}}
        step = self.flow.then(entry, name, node, part)
        result: Expr = Ref(step, ("output",))
        if isinstance(found, Fields):
            result = Fields(tuple((field, Ref(step, ("output", field))) for field, _ in found.fields))
        return [(step, document.put((), result))]

    def _wait(self, name: str, part: Part, entry: str, document: Document) -> list[End]:
        node = {"type": "wait", "config": {"duration": values.duration_ms(part["wait"])}}
        return [(self.flow.then(entry, name, node, part), document)]

    def _do(self, _name: str, part: Part, entry: str, document: Document) -> list[End]:
        return self.run(part["do"], entry, document)

    def _raise(self, name: str, part: Part, entry: str, document: Document) -> list[End]:
        error = part["raise"]["error"]
        if isinstance(error.value, str):
            error = self.use["errors"][error.text()]
        scope = self.scope(document)
        shown = error["detail"] if error["detail"] else error["title"]
        message = value(values.read(shown, scope)) if shown else error["type"].text()
        kind = name_of(error["type"].text("failed").rstrip("/").rsplit("/", 1)[-1])
        if self.guards:
            part["raise"].remark(
                "an error that is raised in a `try` ends the run here", "lead to the `catch` by an edge"
            )
        node = {"type": "end", "config": {"status": "failed", "error": {"type": kind, "message": str(message)}}}
        self.flow.then(entry, name, node, part)
        return []

    def _fork(self, name: str, part: Part, entry: str, document: Document) -> list[End]:
        fork = part["fork"]
        races = fork["compete"].value is True
        meeting = self.flow.add(f"{'first' if races else 'all'} of {name}", RACE if races else None, part)
        results: list[Expr] = []
        for branch in fork["branches"].items():
            _, task = values.name_and_task(branch)
            ends = self.run(Part([branch.value], branch.place, branch.remarks), entry, document)
            for step, _ in ends:
                self.flow.link(step, meeting)
            results.append(whole_of(merged([found for _, found in ends]), task) if ends else Literal(None))
        if races:
            return [(meeting, document.put((), values.any_of(results)))]
        return [(meeting, document.put((), Items(tuple(results))))]

    def _listen(self, name: str, part: Part, entry: str, document: Document) -> list[End]:
        to = part["listen"]["to"]
        part.not_carried({"foreach": "take one event at a time: a signal in a loop"})
        kind = next((kind for kind in ("one", "any", "all") if kind in to), "any")
        wanted = [to["one"]] if kind == "one" else list(to[kind].items())
        if not wanted:
            to.remark(
                "any event is waited for", f"send it: agentctl workflow signal RUN {name_of(name)} --payload JSON"
            )
            step = self.flow.then(entry, name, _signal(name), part)
            return [(step, document.put((), Items((Ref(step, ("output",)),))))]
        meeting, results = "", []
        if len(wanted) > 1:
            meeting = self.flow.add(
                f"{'first' if kind == 'any' else 'all'} of {name}", RACE if kind == "any" else None, part
            )
        for number, item in enumerate(wanted):
            event = values.event(item)
            title = name if len(wanted) == 1 else f"{name} {number + 1}"
            step = self.flow.then(entry, title, _signal(event), part)
            results.append(Ref(step, ("output",)))
            if meeting:
                self.flow.link(step, meeting)
            fix = f"send its data: agentctl workflow signal RUN {name_of(event)} --payload JSON"
            item.remark(f"the event {event!r} comes as a signal", fix)
        heard = Items((values.any_of(results),)) if kind == "any" else Items(tuple(results))
        return [(meeting or step, document.put((), heard))]

    def _try(self, name: str, part: Part, entry: str, document: Document) -> list[End]:
        catch = part["catch"]
        retry = calls.retry_of(catch, self.use)
        catches = bool(catch["do"]) or retry is None
        guard = lists.Guard(self.flow.add(f"catch {name}", None, catch), retry, catches, catch)
        self.guards.append(guard)
        ends = self.run(part["try"], entry, document)
        self.guards.pop()
        if not catches or not guard.failed:
            return ends
        ends += self._caught(name, catch, guard)
        return ends

    def _caught(self, name: str, catch: Part, guard: lists.Guard) -> list[End]:
        kinds = values.any_of([Ref(step, ("error", "type")) for step, _ in guard.failed])
        texts = values.any_of([Ref(step, ("error", "message")) for step, _ in guard.failed])
        error = Fields((("type", kinds), ("title", kinds), ("detail", texts)))
        document = merged([found for _, found in guard.failed]).assign(catch["as"].text("error"), error)
        when = calls.caught(catch, kinds)
        if catch["when"]:
            text = catch["when"].text()
            own = translated(catch["when"], lambda: values.expression(text, self.scope(document)), Literal(False))
            when = both(when, own)
        if catch["exceptWhen"]:
            catch["exceptWhen"].remark("'exceptWhen' is not carried over", "add it to the conditions of the edges")
        entry = guard.step
        if when is not None:
            entry = self.flow.then(guard.step, f"caught {name}", None, catch, when)
            message = {"type": "uncaught", "message": value(texts)}
            node = {"type": "end", "config": {"status": "failed", "error": message}}
            self.flow.then(guard.step, f"{name} failed", node, catch, negated(when))
        if not catch["do"]:
            return [(entry, document)]
        return self.run(catch["do"], entry, document)

    def _for(self, name: str, part: Part, entry: str, document: Document) -> list[End]:
        node = {"type": "map", "config": self._mapped(name, part, document, 1)}
        step = self._step(name, node, part, entry, document)
        return [(step, document.put((), Ref(self._newest(), ("output",))))]

    def _mapped(self, name: str, part: Part, document: Document, level: int) -> dict[str, Any]:
        """Returns the configuration of the map that a loop is. level: 2 for a loop in a loop, and so on."""
        loop = part["for"]
        each, at = loop["each"].text("item"), loop["at"].text("index")
        text = loop["in"].text()
        over = translated(loop["in"], lambda: values.expression(text, self.scope(document)), Literal([]))
        if part["while"]:
            part["while"].remark(
                "a condition that ends the loop is not carried over", "use a loop node, or a back edge"
            )
        part.remark("the loop's output is the list of its results; it was the last one", "read the item that you need")
        config: dict[str, Any] = {"over": value(over), **names_at(level), "concurrency": 1}
        inner = document.assign(each, Ref(item_of(level))).assign(at, Ref(item_of(level, "index")))
        if not lists.is_map(part, LEVELS_MAX + 1 - level):
            return {**config, "body": self._child(name, part, each, at, document)}
        only, task = values.name_and_task(part["do"][0])
        if "for" in task:
            return {**config, "body": {"type": "map", "config": self._mapped(only, task, inner, level + 1)}}
        return {**config, "body": calls.work(only, task, self.scope(inner), self.use).node}

    def _child(self, name: str, part: Part, each: str, at: str, document: Document) -> dict[str, Any]:
        """Returns the body of a loop with several tasks: a subworkflow that gets the item and the document."""
        given = {"value": {"type": "any"}, name_of(each): {"type": "any"}, name_of(at): {"type": "any"}}
        child = Flow(name_of(f"{self.flow.name}_{name}"), part, inputs=given)
        self.flows.append(child)
        inner = _Tasks(child, self.flows, self.use, Ref("value"), self.carried)
        start = Document(Ref("value")).assign(each, Ref(name_of(each))).assign(at, Ref(name_of(at)))
        ends = inner.run(part["do"], START, start)
        self.back.update(inner.back)
        child.outputs = merged([found for _, found in ends]).outputs() if ends else {}
        inputs = {"value": value(whole_of(document, part)), name_of(each): "{{item}}", name_of(at): "{{index}}"}
        return {"type": "subworkflow", "config": {"workflow": child.name, "inputs": inputs}}


def _signal(event: str) -> dict[str, Any]:
    return {"type": "signal", "config": {"signal": name_of(event)}}
