"""Workflows of n8n: nodes, and the connections of their outputs. Pure."""

from __future__ import annotations

from typing import Any, Final

from agentctl.importers.documents import Document, merged, settled
from agentctl.importers.expression import Expr, Fields, Literal, Op, Ref, both, negated, value
from agentctl.importers.flow import START, Flow, argument_of, asked, name_of, translated
from agentctl.importers.n8n import values
from agentctl.importers.n8n.values import Scope
from agentctl.importers.source import Part

_INPUT: Final = Ref("inputs")
_STARTS: Final = frozenset({"webhook", "start", "cron", "interval"})
_PASSING: Final = frozenset({"merge", "noOp", "splitInBatches", "splitOut", "itemLists", "limit", "aggregate"})
_CODE: Final = frozenset({"code", "function", "functionItem"})
_MODELS: Final = frozenset({"agent", "chainLlm", "openAi", "lmChatOpenAi", "informationExtractor", "textClassifier"})
_UNIT_MS: Final = {"seconds": 1_000, "minutes": 60_000, "hours": 3_600_000, "days": 86_400_000}
_ITEMS: Final = "give the list to a map, and put the nodes for one item into its body or a subworkflow"


def convert(source: Part) -> list[Flow]:
    """Returns the workflow."""
    if "nodes" not in source or "connections" not in source:
        raise source.wrong("there are no `nodes` and `connections`", "give the JSON that n8n exports for one workflow")
    return [_Workflow(source).flow]


def _kind(part: Part) -> str:
    return part["type"].text().rsplit(".", 1)[-1]


def _is_start(part: Part) -> bool:
    return _kind(part) in _STARTS or _kind(part).endswith("Trigger")


class _Workflow:
    """One workflow."""

    def __init__(self, source: Part) -> None:
        self.source = source
        self.flow = Flow(source["name"].text("imported"), source)
        self.nodes = {part["name"].text(): part for part in source["nodes"].items() if _kind(part) != "stickyNote"}
        self.names = {part["id"].text(): name for name, part in self.nodes.items()}
        self.ways = {name: self._outputs(name) for name in self.nodes}
        self.entries: dict[str, str] = {}
        self.known: dict[str, list[Document]] = {}
        self.documents: dict[str, Document] = {}
        self.last: list[Document] = []
        starts = [name for name, part in self.nodes.items() if _is_start(part)]
        fed = {target for outputs in self.ways.values() for targets in outputs for target in targets}
        starts = starts or [name for name in self.nodes if name not in fed]
        order = self._order(starts)
        for name in order:
            self.entries[name] = self.flow.add(f"enter {name}", None, self.nodes[name])
        for name in starts:
            self.flow.link(START, self.entries[name])
            self.known[name] = [Document(_INPUT)]
        self.done: set[str] = set()
        for name in order:
            self.done.add(name)
            here = merged(self.known.get(name, [Document(_INPUT)]))
            self._node(name, self.nodes[name], settled(here, self.flow, self.entries[name]))
        self._left_out(set(order))
        if self.last:
            self.flow.outputs = merged(self.last).outputs()

    def _outputs(self, name: str) -> list[list[str]]:
        key = name if name in self.source["connections"] else self.nodes[name]["id"].text()
        outputs = self.source["connections"][key]["main"]
        return [
            [target for link in output.items() if (target := self._named(link["node"].text())) in self.nodes]
            for output in outputs.items()
        ]

    def _named(self, name: str) -> str:
        """Returns the name of a node that is named by its name or its id."""
        return self.names.get(name, name)

    def _order(self, starts: list[str]) -> list[str]:
        """Returns the nodes so that each comes after those that lead to it, except in loops."""
        found: list[str] = []
        seen: set[str] = set()
        for start in starts[::-1]:
            if start in seen:
                continue
            seen.add(start)
            stack = [(start, iter([target for targets in self.ways[start] for target in targets]))]
            while stack:
                name, following = stack[-1]
                other = next(following, None)
                if other is None:
                    stack.pop()
                    found.append(name)
                elif other not in seen:
                    seen.add(other)
                    stack.append((other, iter([target for targets in self.ways[other] for target in targets])))
        return found[::-1]

    def _left_out(self, reached: set[str]) -> None:
        for name, part in self.nodes.items():
            if name in reached:
                continue
            roles = [role for role, _ in self.source["connections"][name].fields() if role.startswith("ai_")]
            if roles:
                part.remark(
                    f"{name!r} ({roles[0]}) is not carried over", "models are chosen by `policy`, tools by steps"
                )
            else:
                part.remark(f"nothing leads to {name!r}, so it is left out", "let a node lead to it, or ignore it")

    def _go(self, name: str, step: str, document: Document, output: int = 0, when: Expr | None = None) -> None:
        """Leads from a step to the nodes behind an output of its node."""
        self.documents[name] = document
        targets = self.ways[name][output] if output < len(self.ways[name]) else []
        if not targets and when is None:
            self.last.append(document)
        for target in targets:
            if target in self.done and _kind(self.nodes[target]) == "splitInBatches":
                continue  # the way back of a loop over items
            self.known.setdefault(target, []).append(document)
            self.flow.link(step, self.entries[target], when)

    def _node(self, name: str, part: Part, document: Document) -> None:
        kind, entry = _kind(part), self.entries[name]
        scope = Scope(document, self.documents)
        if part["disabled"].value is True:
            self._go(name, entry, document)
        elif _is_start(part):
            self._start(name, part, entry, document)
        elif kind == "if":
            when = translated(part["parameters"], lambda: values.conditions(part["parameters"], scope), Literal(False),
                              "the condition")  # fmt: skip
            self._go(name, entry, document, 0, when)
            self._go(name, entry, document, 1, negated(when))
        elif kind == "switch":
            self._switch(name, part, entry, scope)
        elif kind == "filter":
            when = translated(part["parameters"], lambda: values.conditions(part["parameters"], scope), Literal(False),
                              "the condition")  # fmt: skip
            self._go(name, entry, document, 0, when)
        elif kind in _PASSING:
            if kind not in {"merge", "noOp"}:
                part.remark(f"{name!r} works on a list of items; here the steps behind it run once", _ITEMS)
            for output in range(max(1, len(self.ways[name]))):
                self._go(name, entry, document, output)
        else:
            self._step(name, part, entry, scope)

    def _start(self, name: str, part: Part, entry: str, document: Document) -> None:
        kind = _kind(part)
        if kind == "webhook":
            part.remark("the webhook is not carried over", "create it with: agentctl schedule create, as a webhook")
            document = Document(Fields((("body", _INPUT),)))
        elif kind not in {"manualTrigger", "start", "executeWorkflowTrigger"}:
            part.remark(f"the trigger {kind!r} is not carried over", "create it with: agentctl schedule create")
        self._go(name, entry, document)

    def _switch(self, name: str, part: Part, entry: str, scope: Scope) -> None:
        given = part["parameters"]["rules"]
        rules = list((given["values"] if given["values"] else given["rules"]).items())
        before: Expr | None = None
        for number, rule in enumerate(rules):

            def read(rule: Part = rule) -> Expr:
                if "conditions" in rule:
                    return values.conditions(rule, scope)
                left = values.read(part["parameters"]["value1"], scope)
                return values.test(rule["operation"].text("equal"), left, values.read(rule["value2"], scope))

            when = translated(rule, read, Literal(False), "the rule")
            taken = when if before is None else both(negated(before), when)
            self._go(name, entry, scope.document, int(rule["output"].number(number)), taken)
            before = when if before is None else Op("or", (before, when))
        fallback = part["parameters"]["fallbackOutput"]
        if len(self.ways[name]) > len(rules) or fallback:
            self._go(name, entry, scope.document, int(fallback.number(len(rules))), negated(before))

    def _step(self, name: str, part: Part, entry: str, scope: Scope) -> None:
        node, result = self._made(name, part, scope)
        policy: dict[str, Any] = {}
        tries = int(part["maxTries"].number(3)) if part["retryOnFail"].value is True else 1
        wait = int(part["waitBetweenTries"].number(1000))
        calls = node["type"] in {"tool", "function", "llm", "subworkflow"}
        if calls:
            policy["retry"] = {"max_attempts": tries} | (
                {"backoff": "fixed", "initial_ms": wait, "jitter": 0} if tries > 1 else {}
            )
        on_error = part["onError"].text()
        goes_on = on_error.startswith("continue") or part["continueOnFail"].value is True
        if goes_on and calls:
            policy["on_failure"] = "continue"
        step = self.flow.then(entry, name, {**node, "policy": policy} if policy else node, part)
        if node["type"] == "end":
            return
        found = result(step)
        failed: Expr = Op("==", (Ref(step, ("status",)), Literal("failed")))
        if on_error == "continueErrorOutput":
            error = Document(Fields((("error", Ref(step, ("error", "message"))),)))
            self._go(name, step, error, 1, failed)
            self._go(name, step, found, 0, negated(failed))
        else:
            self._go(name, step, found)

    def _made(self, name: str, part: Part, scope: Scope) -> tuple[dict[str, Any], Any]:  # noqa: PLR0911  (a table of cases)
        """Returns the node that does what a node of n8n did, and a function that gives its output's document."""
        kind, given = _kind(part), part["parameters"]

        def whole(step: str) -> Document:
            return Document(Ref(step, ("output",)))

        if kind == "httpRequest":
            return self._http(given, scope), lambda step: Document(Ref(step, ("output", "json")))
        if kind == "set":
            return self._set(given, scope)
        if kind == "wait":
            if given["resume"].text("timeInterval") in {"timeInterval", "specificTime"}:
                unit = _UNIT_MS.get(given["unit"].text("hours"), 3_600_000)
                config: dict[str, Any] = {"duration": int(given["amount"].number(1) * unit)}
                if "dateTime" in given:
                    config = {"until": value(values.read(given["dateTime"], scope))}
                return {"type": "wait", "config": config}, lambda _: scope.document
            part.remark("it waited for a call from outside: here for a signal",
                        f"send it: agentctl workflow signal RUN {name_of(name)} --payload JSON")  # fmt: skip
            return {"type": "signal", "config": {"signal": name_of(name)}}, whole
        if kind == "stopAndError":
            message = str(value(values.read(given["errorMessage"], scope)) or "stopped")
            return {
                "type": "end",
                "config": {"status": "failed", "error": {"type": "stopped", "message": message}},
            }, whole
        if kind == "executeWorkflow":
            child = given["workflowId"]
            child = (
                child["cachedResultName"] if child["cachedResultName"] else child["value"] if child["value"] else child
            )
            child.remark("the workflow is called by its name here", "import it, and register it under this name")
            inputs = scope.document.arguments()
            if given["workflowInputs"]["value"]:
                read = values.read(given["workflowInputs"]["value"], scope)
                inputs = {key: value(item) for key, item in read.fields} if isinstance(read, Fields) else inputs
            workflow = name_of(child.text("imported"))
            return {"type": "subworkflow", "config": {"workflow": workflow, "inputs": inputs}}, whole
        if kind in _CODE:
            part.remark(f"the code of {name!r} is not carried over", f"write a function {name_of(name)!r} in Python")
            config = {"function_name": name_of(name), "function_args": scope.document.arguments()}
            return {"type": "function", "config": config}, whole
        if kind in _MODELS:
            return self._model(name, part, scope), lambda step: Document(
                Fields((("output", Ref(step, ("output", "text"))), ("text", Ref(step, ("output", "text")))))
            )
        words = [kind, given["resource"].text(), given["operation"].text()]
        tool = ".".join(name_of(word) for word in words if word)
        part.remark(f"the app {kind!r} is not carried over", f"write a tool {tool!r}; its credentials are the worker's")
        own = {"resource", "operation", "options"}
        arguments = {
            argument_of(key): value(values.read(item, scope)) for key, item in given.fields() if key not in own
        }
        return {"type": "tool", "config": {"tool_name": tool, "tool_args": arguments}}, whole

    def _http(self, given: Part, scope: Scope) -> dict[str, Any]:
        method = (given["method"].text() or given["requestMethod"].text("GET")).lower()
        arguments: dict[str, Any] = {"url": value(values.read(given["url"], scope))}
        for theirs, ours in (("headerParameters", "headers"), ("queryParameters", "query"), ("bodyParameters", "body")):
            items = list(given[theirs]["parameters"].items())
            if items:
                arguments[ours] = {item["name"].text(): value(values.read(item["value"], scope)) for item in items}
        if given["jsonBody"]:
            arguments["body"] = value(values.read(given["jsonBody"], scope))
        if method != "get":
            fix = f"write a tool 'http.{method}' that returns what http.get returns"
            given.remark(f"the built-in tools only read: there is no http.{method}", fix)
        elif "query" in arguments:
            query = arguments.pop("query")
            arguments["url"] = f"{arguments['url']}?" + "&".join(f"{name}={item}" for name, item in query.items())
        if given["authentication"].text("none") != "none":
            given["authentication"].remark("the credentials are not carried over", "give them in `headers`")
        return {"type": "tool", "config": {"tool_name": f"http.{method}", "tool_args": arguments}}

    def _set(self, given: Part, scope: Scope) -> tuple[dict[str, Any], Any]:
        fields: dict[str, Expr] = {}
        listed = given["assignments"]["assignments"] if given["assignments"] else given["fields"]["values"]
        for item in listed.items():
            held = next(
                (item[key] for key in ("value", "stringValue", "numberValue", "booleanValue") if key in item), item
            )
            fields[item["name"].text()] = values.read(held, scope)
        for _, items in given["values"].fields():
            for item in items.items():
                fields[item["name"].text()] = values.read(item["value"], scope)
        if given["mode"].text() == "raw":
            given["jsonOutput"].remark("a text of JSON is handed on as text", "write it as fields")
            fields["json"] = values.read(given["jsonOutput"], scope)
        made = {name: value(expr) for name, expr in fields.items()}
        node = {"type": "function", "config": {"function_name": "pick", "function_args": {"value": made}}}
        keeps = given["includeOtherFields"].value is True or (
            bool(given["values"]) and given["keepOnlySet"].value is not True
        )

        def document(step: str) -> Document:
            refs = {name: Ref(step, ("output", name)) for name in fields}
            if not keeps:
                return Document(Fields(tuple(refs.items())))
            found = scope.document
            for name, ref in refs.items():
                found = found.put((name,), ref)
            return found

        return node, document

    def _model(self, name: str, part: Part, scope: Scope) -> dict[str, Any]:
        given = part["parameters"]
        shown = given["text"] if given["text"] else given["prompt"]
        text = value(values.read(shown, scope) if shown else scope.document.base)
        if shown and (found := asked(text)) is not None:
            if given["options"]["systemMessage"] or given["messages"]:
                part.remark("the system message is not carried over", "put it at the beginning of `prompt`")
            return {"type": "llm", "config": found}
        prompt = name_of(name)
        part.remark("the prompt's text is not carried over: prompts are stored apart",
                    f"store it: agentctl prompt create {prompt} --template @prompt.txt")  # fmt: skip
        return {"type": "llm", "config": {"prompt_ref": prompt, "inputs": {"text": text}}}
