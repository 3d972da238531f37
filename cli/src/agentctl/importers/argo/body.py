"""The steps of one template of Argo as a flow. A repeated step in a repeated step is a map in a map. Pure."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Protocol

from agentctl.importers.argo import locks, sequences, values
from agentctl.importers.argo.leaves import Leaves, parameters, policy_of
from agentctl.importers.expression import Expr, Literal, Op, Ref, UntranslatableError, negated, value
from agentctl.importers.flow import LEVELS_MAX, START, Flow, condition_of, item_of, name_of, names_at, translated
from agentctl.importers.source import Part
from agentflow_common.places import Place

_POD: Final = dict.fromkeys(
    ("serviceAccountName", "nodeSelector", "affinity", "tolerations", "volumes", "volumeClaimTemplates",
     "imagePullSecrets", "podSpecPatch", "securityContext", "dnsConfig", "hostNetwork"),
    "a worker runs the steps: choose its worker pool with `lane`",
)  # fmt: skip
LOST: Final = {
    **_POD,
    "onExit": "add a step behind it with a condition on its `status`",
    "hooks": "add steps with conditions on `status`",
    "ttlStrategy": "set how long runs are kept: agentctl retention",
    "podGC": "nothing is to be removed after a run",
    "artifactRepositoryRef": "store files with s3.put and read them with s3.fetch",
    "metrics": "the stack exports metrics of every workflow",
}
_FILES: Final = "return values, or store files with s3.put and read them with s3.fetch"
_ITEMS: Final = ("withItems", "withParam", "withSequence")
_OF_RUNS: Final = ("synchronization", "outputs", *LOST)  # what a template has by a run of its own
_OF_STEPS: Final = ("continueOn", "onExit", "hooks")
Work = tuple[dict[str, Any], dict[str, Any], Part | None]


class Templates(Protocol):
    """The templates of a workflow, as the steps of one of them see it."""

    templates: dict[str, Part]
    defaults: Part
    globals: list[str]

    def resolve_global(self, parts: tuple[str, ...]) -> Expr:
        """Returns the meaning of a tag that every template knows."""

    def child(self, template: Part, name: str) -> str:
        """Returns the name of the subworkflow of a template."""


def is_composite(template: Part) -> bool:
    return bool(template["steps"] or template["dag"])


class Body:
    """The steps of one template of steps or tasks, as a flow."""

    def __init__(
        self, workflow: Templates, flow: Flow, template: Part, inputs: dict[str, Expr], *, at_end: bool = False,
        around: tuple[Place, ...] = (),
    ) -> None:  # fmt: skip
        self.workflow, self.flow, self.template, self.inputs = workflow, flow, template, inputs
        self.at_end = at_end  # the steps run when the run ends
        self.around = (*around, template.place)  # the templates of the maps that this one is in, and itself
        self.level = len(self.around)  # that of the maps that its steps are
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
        self.template.not_carried(LOST)

    def resolve(self, parts: tuple[str, ...]) -> Expr:  # noqa: PLR0911  (a table of cases)
        """Returns the meaning of a tag in this template."""
        match parts:
            case ("inputs", "parameters", name) if name in self.inputs:
                return self.inputs[name]
            case ("inputs", "parameters", name, *path) if isinstance(found := self.inputs.get(name), Ref):
                return Ref(found.root, (*found.path, *path))
            case ("item", *path):
                return Ref(item_of(self.level), tuple(path))
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
        per_item = condition if self._reads_item(condition) else None
        if per_item is not None:
            condition = None
        _, template, arguments = self._call(part)
        part.not_carried({name: LOST[name] for name in ("onExit", "hooks")})
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
        work, policy, lock = self._work(name, template, arguments, part)
        node = self._repeated(part, work) or dict(work)
        if policy and node["type"] not in {"wait", "signal", "approval"}:
            node["policy"] = policy
        found = self.flow.then(before, name, node, part, condition)
        if lock is not None:
            locks.of_step(lock, self.flow, found, self.resolve, at_end=self.at_end)
        self.ids[name] = found
        if node["type"] == "map":
            self.maps.add(name)
        return found

    def _work(self, name: str, template: Part | None, arguments: dict[str, Part], part: Part) -> Work:
        """Returns what a template does, the policy of that, and the locks of a template that does one thing."""
        leaves = Leaves(self.resolve)
        if template is None:
            reference = part["templateRef"]
            wanted = reference["template"].text() or part["template"].text()
            part.remark(f"the template {wanted!r} is not in this file", "import its file, and register it first")
            work: dict[str, Any] = {"type": "subworkflow", "config": {"workflow": name_of(wanted)}}
            work["config"]["inputs"] = leaves.arguments({}, arguments)
            return work, {}, None
        policy = policy_of(template, self.workflow.defaults)
        if not is_composite(template):
            work = leaves.work(name, template, arguments)
            return work, policy, template["synchronization"] if work["type"] == "tool" else None
        nested = None
        if not policy and any(part[field] for field in _ITEMS):
            nested = self._nested(template, leaves.given(parameters(template), arguments))
        if nested is not None:
            return nested
        child = self.workflow.child(template, template["name"].text() or name)
        passed = {name_of(wanted): value(Ref(name_of(wanted))) for wanted in self.workflow.globals}
        given = {**passed, **leaves.arguments(parameters(template), arguments)}
        return {"type": "subworkflow", "config": {"workflow": child, "inputs": given}}, policy, None

    def _nested(self, template: Part, inputs: dict[str, Expr]) -> Work | None:
        """Returns the map that a template with one repeated step is inside of a map; None if it needs a run."""
        calls = [*template["dag"]["tasks"].items()]
        for group in template["steps"].items():
            calls += group.items() if isinstance(group.value, list) else [group]
        call = calls[0] if len(calls) == 1 else Part({}, template.place, template.remarks)
        if template.place in self.around or self.level == LEVELS_MAX or not any(call[field] for field in _ITEMS):
            return None
        if any(template[field] for field in _OF_RUNS) or any(call[field] for field in _OF_STEPS):
            return None
        inner = Body(self.workflow, self.flow, template, inputs, around=self.around, at_end=self.at_end)
        condition: Expr | None = None
        if call["when"]:
            when = partial(values.when, call["when"].text(), inner.resolve)
            condition = translated(call["when"], when, Literal(False))
            if not inner._reads_item(condition):
                return None
        name, called, arguments = inner._call(call)
        work, policy, lock = inner._work(name, called, arguments, call)
        repeated = inner._repeated(call, work)
        if repeated is None:
            return None
        if condition is not None:
            repeated["config"]["item_condition"] = condition_of(condition, call["when"])
        return repeated, policy, lock

    def _call(self, part: Part) -> tuple[str, Part | None, dict[str, Part]]:
        """Returns the name of a step, the template that it calls, and the arguments."""
        template = part["inline"] if part["inline"] else self.workflow.templates.get(part["template"].text())
        arguments = {item["name"].text(): item for item in part["arguments"]["parameters"].items()}
        if part["arguments"]["artifacts"]:
            part["arguments"]["artifacts"].remark("files between steps are not carried over", _FILES)
        return part["name"].text("step"), template, arguments

    def _reads_item(self, expr: Expr | None) -> bool:
        if isinstance(expr, Ref):
            return expr.root == item_of(self.level)
        return isinstance(expr, Op) and any(map(self._reads_item, expr.args))

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
                return {"type": "map", "config": {"range": computed, **names_at(self.level), "body": work}}
            over = Literal(sequences.items(part["withSequence"]))
        else:
            return None
        if work["type"] not in {"tool", "subworkflow", "map"}:
            part.remark(f"a {work['type']} for each item is not carried over", "put it into a subworkflow")
            return None
        config: dict[str, Any] = {"over": value(over), **names_at(self.level), "body": work}
        limit = self.template["parallelism"]
        if limit:
            config["concurrency"] = int(limit.number(1))
        return {"type": "map", "config": config}
