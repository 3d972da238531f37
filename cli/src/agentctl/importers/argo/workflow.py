"""Workflows of Argo: the entry template is the workflow, other templates of steps are subworkflows. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from agentctl.importers.argo import locks, values
from agentctl.importers.argo.body import LOST, Body, is_composite
from agentctl.importers.argo.leaves import parameters
from agentctl.importers.expression import Expr, Literal, Ref, UntranslatableError
from agentctl.importers.flow import START, Flow, name_of, translated
from agentctl.importers.source import Part
from agentflow_common.places import Place

_GLOBAL: Final = re.compile(r"workflow\.parameters\.([A-Za-z0-9_-]+)")
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
        spec.not_carried({name: fix for name, fix in LOST.items() if name != "onExit"})
        for name in self.globals:
            flow.inputs[name_of(name)] = self._input(self.arguments.get(name))
        if spec["activeDeadlineSeconds"]:
            flow.more["deadline_ms"] = int(spec["activeDeadlineSeconds"].number() * 1000)
        if spec["parallelism"]:
            spec["parallelism"].remark(
                "a bound for all steps of a run is not carried over", "set `concurrency` of maps"
            )
        entry = spec["entrypoint"].text() or next(iter(self.templates))
        if entry not in self.templates:
            raise spec["entrypoint"].wrong(f"there is no template {entry!r}", "name one of `templates`")
        template = self.templates[entry]
        held = [spec["synchronization"], *([template["synchronization"]] if is_composite(template) else [])]
        locks.of_runs(held, flow, self.resolve_global)
        self._entered(Body(self, flow, template, self._own(template)), entry, spec)
        self._at_end(spec["onExit"], flow)
        flows = [flow, *self.children.values()]
        locks.check(flows, spec)
        return flows

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
        body = Body(self, flow, template, {wanted: Ref(name_of(wanted)) for wanted in parameters(template)})
        locks.of_runs([template["synchronization"]], flow, body.resolve)
        body.build()
        return child
