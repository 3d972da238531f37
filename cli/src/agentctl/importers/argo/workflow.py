"""Workflows of Argo: the entry template is the workflow, other templates of steps are subworkflows. Pure."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any, Final

from agentctl.importers.argo import sequences, values
from agentctl.importers.argo.leaves import Leaves, parameters, policy_of
from agentctl.importers.expression import Expr, Literal, Op, Ref, UntranslatableError, negated, value
from agentctl.importers.flow import START, Flow, condition_of, name_of, translated
from agentctl.importers.source import Part
from agentflow_common.places import Place

_GLOBAL: Final = re.compile(r"workflow\.parameters\.([A-Za-z0-9_-]+)")
_POD: Final = dict.fromkeys(
    ("serviceAccountName", "nodeSelector", "affinity", "tolerations", "volumes", "volumeClaimTemplates",
     "imagePullSecrets", "podSpecPatch", "securityContext", "dnsConfig", "hostNetwork"),
    "a worker runs the steps: choose its worker pool with `lane`",
)  # fmt: skip
_LOST: Final = {
    **_POD,
    "onExit": "add a step behind it with a condition on its `status`",
    "hooks": "add steps with conditions on `status`",
    "ttlStrategy": "set how long runs are kept: agentctl retention",
    "podGC": "nothing is to be removed after a run",
    "artifactRepositoryRef": "store files with s3.put and read them with s3.fetch",
    "metrics": "the stack exports metrics of every workflow",
}
_SCHEDULE: Final = "create it with: agentctl schedule create"


def convert(source: Part) -> list[Flow]:
    """Returns the workflow, and the subworkflows that it starts."""
    kind = source["kind"].text()
    spec = source["spec"]
    if kind == "CronWorkflow":
        spec["schedule" if "schedule" in spec else "schedules"].remark("the schedule is not carried over", _SCHEDULE)
        spec = spec["workflowSpec"]
    elif kind not in {"Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate"}:
        raise source["kind"].wrong(f"{kind or 'nothing'!r} is not a kind of workflow", "give a Workflow of Argo")
    if not spec["templates"]:
        fix = "import the template that `workflowTemplateRef` names"
        raise spec.wrong("there are no `templates`", fix)
    return _Workflow(source, spec).flows()


class _Workflow:
    """The templates of one workflow."""

    def __init__(self, source: Part, spec: Part) -> None:
        self.spec = spec
        self.templates = {part["name"].text(): part for part in spec["templates"].items()}
        self.defaults = spec["templateDefaults"]
        self.arguments = {part["name"].text(): part for part in spec["arguments"]["parameters"].items()}
        self.name = source["metadata"]["name"].text() or source["metadata"]["generateName"].text("imported").strip("-")
        note = source["metadata"]["annotations"]["workflows.argoproj.io/description"]
        self.main = Flow(self.name, spec, " ".join(note.text().split())[:500])
        self.globals = sorted({*_GLOBAL.findall(json.dumps(spec.value, default=str)), *self.arguments})
        self.children: dict[Place, Flow] = {}  # by the places of their templates

    def flows(self) -> list[Flow]:
        spec, flow = self.spec, self.main
        spec.not_carried({name: fix for name, fix in _LOST.items() if name != "onExit"})
        for name in self.globals:
            flow.inputs[name_of(name)] = self._input(self.arguments.get(name))
        if spec["activeDeadlineSeconds"]:
            flow.more["deadline_ms"] = int(spec["activeDeadlineSeconds"].number() * 1000)
        self._lane(spec["synchronization"], flow)
        if spec["parallelism"]:
            spec["parallelism"].remark(
                "a bound for all steps of a run is not carried over", "set `concurrency` of maps"
            )
        entry = spec["entrypoint"].text() or next(iter(self.templates))
        if entry not in self.templates:
            raise spec["entrypoint"].wrong(f"there is no template {entry!r}", "name one of `templates`")
        template = self.templates[entry]
        if is_composite(template) and not spec["synchronization"]:
            self._lane(template["synchronization"], flow)
        self._entered(Body(self, flow, template, self._own(template)), entry, spec)
        self._at_end(spec["onExit"], flow)
        return [flow, *self.children.values()]

    def _own(self, template: Part) -> dict[str, Expr]:
        return {name: self._entry_input(part) for name, part in parameters(template).items()}

    @staticmethod
    def _entered(body: Body, name: str, part: Part) -> None:
        if is_composite(body.template):
            body.build()
        else:
            body.step(START, name, body.template, {}, part)

    def _at_end(self, handler: Part, flow: Flow) -> None:
        """Adds the steps of the exit handler."""
        name = handler.text()
        if name and name not in self.templates:
            handler.remark(f"there is no template {name!r}", "name one of `templates`")
        elif name:
            template = self.templates[name]
            self._entered(Body(self, flow.ending(handler), template, self._own(template), at_end=True), name, handler)

    def _input(self, part: Part | None) -> dict[str, Any]:
        if part is None or "value" not in part:
            if part is not None and part["valueFrom"]:
                part["valueFrom"].remark("a value from the cluster is not carried over", "give the input at submission")
            return {"type": "any"}
        given = part["value"].value
        if isinstance(given, str) and given.strip()[:1] in {"[", "{"}:
            try:
                given = json.loads(given)
            except ValueError:
                pass
            else:
                part.remark("the JSON text is a list or an object here", "give it as JSON: --inputs '{...}'")
        return {"type": "any", "default": given}

    def _entry_input(self, part: Part) -> Expr:
        name = part["name"].text()
        if name in self.arguments or "value" not in part:
            return Ref(name_of(name))
        return translated(part["value"], lambda: values.text(part["value"].value, self.resolve_global), Literal(None))

    def resolve_global(self, parts: tuple[str, ...]) -> Expr:
        match parts:
            case ("workflow", "parameters", name):
                return Ref(name_of(name))
            case ("workflow", "parameters", name, *path):
                return Ref(name_of(name), tuple(path))
            case ("workflow", "name" | "uid"):
                return Ref("run")
            case ("workflow", "namespace"):
                return Ref("org")
        raise UntranslatableError(f"{'.'.join(parts)!r} is not known here")

    def _lane(self, part: Part, flow: Flow) -> None:
        if key := _lock(part, "workflow"):
            flow.more["run_lane"] = {"key": key, "limit": 1}

    def child(self, template: Part, name: str) -> str:
        """Returns the name of the subworkflow of a template, which is made when it is first needed."""
        if template.place in self.children:
            return self.children[template.place].name
        taken = {self.name, *(flow.name for flow in self.children.values())}
        child = base = name_of(f"{self.name}_{name}")
        number = 1
        while child in taken:
            number += 1
            child = f"{base}_{number}"
        flow = Flow(child, template)
        self.children[template.place] = flow
        for wanted, part in parameters(template).items():
            given = part["value"].value
            static = "value" in part and not (isinstance(given, str) and "{{" in given)
            flow.inputs[name_of(wanted)] = {"type": "any", **({"default": given} if static else {})}
        for wanted in self.globals:
            flow.inputs.setdefault(name_of(wanted), {"type": "any"})
        self._lane(template["synchronization"], flow)
        Body(self, flow, template, {wanted: Ref(name_of(wanted)) for wanted in parameters(template)}).build()
        return child


def _lock(part: Part, owner: str) -> str:
    """Returns the name of a mutex or semaphore, or an empty text."""
    mutexes = [*part["mutexes"].items(), *([part["mutex"]] if part["mutex"] else [])]
    semaphores = [*part["semaphores"].items(), *([part["semaphore"]] if part["semaphore"] else [])]
    for other in [*mutexes, *semaphores][1:]:
        other.remark(f"only one lock of a {owner} is carried over", "use `lock` of the workflow for the others")
    for lock in [*mutexes, *semaphores][:1]:
        if not mutexes:
            size = "`lane_limit`" if owner == "step" else "`limit` of `run_lane`"
            lock.remark("the semaphore's size stands in the cluster", f"set {size}")
        return name_of(lock["name"].text() or lock["configMapKeyRef"]["key"].text() or "lock")
    return ""


def is_composite(template: Part) -> bool:
    return bool(template["steps"] or template["dag"])


class Body:
    """The steps of one template of steps or tasks, as a flow."""

    def __init__(
        self, workflow: _Workflow, flow: Flow, template: Part, inputs: dict[str, Expr], *, at_end: bool = False
    ) -> None:
        self.workflow, self.flow, self.template, self.inputs = workflow, flow, template, inputs
        self.at_end = at_end  # the steps run when the run ends
        self.ids: dict[str, str] = {}
        self.maps: set[str] = set()  # the names of steps with a list of outputs

    def build(self) -> None:
        if self.template["steps"]:
            self._groups()
        else:
            self._tasks()
        for part in self.template["outputs"]["parameters"].items():
            source = part["valueFrom"]["parameter"]
            source = source if source else part["valueFrom"]["expression"]
            read = values.expression if source.place[-1] == "expression" else values.text
            found = translated(source, partial(read, source.value, self.resolve), Literal(None))
            self.flow.outputs[name_of(part["name"].text())] = value(found)
        self.template.not_carried(_LOST)

    def resolve(self, parts: tuple[str, ...]) -> Expr:  # noqa: PLR0911  (a table of cases)
        """Returns the meaning of a tag in this template."""
        match parts:
            case ("inputs", "parameters", name) if name in self.inputs:
                return self.inputs[name]
            case ("inputs", "parameters", name, *path) if isinstance(found := self.inputs.get(name), Ref):
                return Ref(found.root, (*found.path, *path))
            case ("item", *path):
                return Ref("item", tuple(path))
            case ("workflow", "status") if self.at_end:
                return Ref("outcome", ("status",))
            case ("steps" | "tasks", name, "status") if name in self.ids:
                return Ref(self.ids[name], ("status",))
            case ("steps" | "tasks", name, "outputs", "result", *path) if name in self.ids:
                return self._output(name, ("result", *path))
            case ("steps" | "tasks", name, "outputs", "parameters", *path) if name in self.ids:
                return self._output(name, tuple(path))
        return self.workflow.resolve_global(parts)

    def _output(self, name: str, path: tuple[str, ...]) -> Expr:
        step = Ref(self.ids[name], ("output",))
        if name in self.maps and path:
            if len(path) > 1:
                raise UntranslatableError("a part of a part of each item is not known here")
            return Op("each", (step, Literal(path[0])))
        return Ref(step.root, (*step.path, *path))

    def _groups(self) -> None:
        before = START
        for group in self.template["steps"].items():
            steps = list(group.items()) if isinstance(group.value, list) else [group]
            ends = [self._called(before, part) for part in steps]
            if len(ends) == 1:
                before = ends[0]
                continue
            meeting = self.flow.add("then", None, group)
            for end in ends:
                self.flow.link(end, meeting)
            before = meeting

    def _tasks(self) -> None:
        tasks = {part["name"].text(): part for part in self.template["dag"]["tasks"].items()}
        known = {name: name_of(name) for name in tasks}
        waits: dict[str, tuple[dict[str, None], Expr | None]] = {}
        tolerated: set[str] = set()
        for name, part in tasks.items():
            named, condition, may_fail = self._dependencies(part, known)
            waits[name] = named, condition
            tolerated |= may_fail
        ends: dict[str, str] = {}
        ahead = dict(tasks)
        while ahead:
            ready = [name for name in ahead if all(other in ends or other not in tasks for other in waits[name][0])]
            if not ready:
                self.template["dag"].remark("the tasks form a circle", "remove a dependency; here one is left out")
                ready = [next(iter(ahead))]
            for name in ready:
                part = ahead.pop(name)
                named, condition = waits[name]
                before = [ends[other] for other in named if other in ends] or [START]
                entry = before[0]
                if len(before) > 1 or condition is not None:
                    entry = self.flow.add("then", None, part)
                    for end in before:
                        self.flow.link(end, entry, condition)
                ends[name] = self._called(entry, part, tolerated=name in tolerated)

    def _dependencies(self, part: Part, ids: dict[str, str]) -> tuple[dict[str, None], Expr | None, set[str]]:
        named: dict[str, None] = {item.text(): None for item in part["dependencies"].items()}
        if not part["depends"]:
            return named, None, set()
        try:
            return values.depends(part["depends"].text(), ids)
        except UntranslatableError as error:
            part["depends"].remark(f"`depends` is not translated: {error}", "write the edges yourself")
            return named, None, set()

    def _called(self, before: str, part: Part, *, tolerated: bool = False) -> str:
        """Adds the step of a call of a template, and returns what the steps after it follow."""
        name = part["name"].text("step")
        condition: Expr | None = None
        if part["when"]:
            condition = translated(part["when"], lambda: values.when(part["when"].text(), self.resolve), Literal(False))
        per_item = condition if _reads_item(condition) else None
        if per_item is not None:
            condition = None
        template = part["inline"] if part["inline"] else self.workflow.templates.get(part["template"].text())
        arguments = {item["name"].text(): item for item in part["arguments"]["parameters"].items()}
        if part["arguments"]["artifacts"]:
            part["arguments"]["artifacts"].remark("files between steps are not carried over", _FILES)
        part.not_carried({name: _LOST[name] for name in ("onExit", "hooks")})
        entry = before
        if condition is not None:
            entry = self.flow.then(before, f"if_{name}", None, part)
        step = self.step(entry, name, template, arguments, part, condition)
        if per_item is not None:
            self._for_items(step, per_item, part["when"])
        if tolerated or part["continueOn"]["failed"].value is True or part["continueOn"]["error"].value is True:
            node = self.flow.steps[step].node or {}
            node["policy"] = {**node.get("policy", {}), "on_failure": "continue"}
        if condition is None:
            return step
        after = self.flow.then(step, f"after_{name}", None, part)
        self.flow.link(entry, after, negated(condition))
        return after

    def _for_items(self, step: str, condition: Expr, part: Part) -> None:
        node = self.flow.steps[step].node or {}
        if node.get("type") == "map":
            node["config"]["item_condition"] = condition_of(condition, part)

    def step(
        self,
        before: str,
        name: str,
        template: Part | None,
        arguments: dict[str, Part],
        part: Part,
        condition: Expr | None = None,
    ) -> str:
        """Adds the step that a template is, once or for each item."""
        leaves = Leaves(self.resolve)
        if template is None:
            reference = part["templateRef"]
            wanted = reference["template"].text() or part["template"].text()
            part.remark(f"the template {wanted!r} is not in this file", "import its file, and register it first")
            work: dict[str, Any] = {"type": "subworkflow", "config": {"workflow": name_of(wanted)}}
            work["config"]["inputs"] = leaves.arguments({}, arguments)
        elif is_composite(template):
            child = self.workflow.child(template, template["name"].text() or name)
            passed = {name_of(wanted): value(Ref(name_of(wanted))) for wanted in self.workflow.globals}
            given = {**passed, **leaves.arguments(parameters(template), arguments)}
            work = {"type": "subworkflow", "config": {"workflow": child, "inputs": given}}
        else:
            work = leaves.work(name, template, arguments)
        node = self._repeated(part, work) or dict(work)
        policy = policy_of(template, self.workflow.defaults) if template is not None else {}
        if policy and node["type"] not in {"wait", "signal", "approval"}:
            node["policy"] = policy
        if template is not None and work["type"] == "tool" and (key := _lock(template["synchronization"], "step")):
            node["lane"] = f"{key}-{{{{org}}}}"
        found = self.flow.then(before, name, node, part, condition)
        self.ids[name] = found
        if node["type"] == "map":
            self.maps.add(name)
        return found

    def _repeated(self, part: Part, work: dict[str, Any]) -> dict[str, Any] | None:
        """Returns the map of a step with a list of items."""
        if part["withItems"]:
            over = translated(
                part["withItems"], lambda: values.text(part["withItems"].value, self.resolve), Literal([])
            )
        elif part["withParam"]:
            over = translated(
                part["withParam"],
                lambda: values.listed(values.text(part["withParam"].value, self.resolve)),
                Literal([]),
            )
        elif part["withSequence"]:
            computed = sequences.computed(part["withSequence"], self.resolve)
            if computed is not None:
                return {"type": "map", "config": {"range": computed, "body": work}}
            over = Literal(sequences.items(part["withSequence"]))
        else:
            return None
        if work["type"] not in {"tool", "subworkflow"}:
            part.remark(f"a {work['type']} for each item is not carried over", "put it into a subworkflow")
            return None
        config: dict[str, Any] = {"over": value(over), "body": work}
        limit = self.template["parallelism"]
        if limit:
            config["concurrency"] = int(limit.number(1))
        return {"type": "map", "config": config}


_FILES: Final = "return values, or store files with s3.put and read them with s3.fetch"


def _reads_item(expr: Expr | None) -> bool:
    if isinstance(expr, Ref):
        return expr.root == "item"
    return isinstance(expr, Op) and any(map(_reads_item, expr.args))
