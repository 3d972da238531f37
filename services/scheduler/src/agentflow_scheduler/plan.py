"""A definition compiled for deciding: who waits for whom, and inputs as closures over the run's values. Pure.

Values that are stored out of line are passed on by reference; only an expression that looks inside one asks for it
(`NeedBlob`), and the shell fetches it and decides again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from agentflow_common import definition as df
from agentflow_common import definition_check, expressions, ids
from agentflow_common.events import BlobRef, Payload
from agentflow_common.expressions import ExpressionError, Path
from agentflow_common.runstate import RunState, StepStatus, blob_marker, holds_marker, is_marker, marked_ref, output_of

PLANS_MAX: Final = 256


class NeedBlob(Exception):
    """An expression looks inside a value that is stored out of line and not at hand."""

    def __init__(self, ref: BlobRef) -> None:
        super().__init__(ref.sha256)
        self.ref = ref


class Scope:
    """What expressions may see: the run's inputs and its steps. blobs: values by SHA-256."""

    def __init__(self, state: RunState, blobs: Mapping[str, Any]) -> None:
        self.state = state
        self.blobs = blobs

    def look(self, payload: Payload) -> Any:
        if payload.ref is None:
            return payload.value
        if payload.ref.sha256 not in self.blobs:
            raise NeedBlob(payload.ref)
        return self.blobs[payload.ref.sha256]

    def inputs(self) -> Any:
        return self.look(self.state.inputs)

    def status(self, step: str) -> str:
        found = self.state.steps.get(step)
        return str(found.status) if found else str(StepStatus.PENDING)

    def step_view(self, step: str) -> dict[str, Any]:
        found = self.state.steps.get(step)
        error = found.error if found else None
        return {
            "output": self.look(output_of(self.state, step)),
            "status": self.status(step),
            "error": {"type": error.type, "message": error.message} if error else None,
        }


Resolver = Callable[[Scope], Any]


def compile_value(value: Any, steps: Mapping[str, Any]) -> Resolver:
    """A closure that gives the value once the references and templates in it are replaced."""
    if isinstance(value, str):
        reference = expressions.parse_reference(value)
        if reference is not None and reference[0] in steps:
            return _reference(value, *reference)
        if expressions.is_template(value):
            return _template(value, steps)
        return lambda _scope: value
    if isinstance(value, dict):
        parts = {key: compile_value(item, steps) for key, item in value.items()}
        return lambda scope: {key: part(scope) for key, part in parts.items()}
    if isinstance(value, list | tuple):
        items = [compile_value(item, steps) for item in value]
        return lambda scope: [item(scope) for item in items]
    return lambda _scope: value


def _reference(text: str, step: str, field: str, path: Path) -> Resolver:
    def resolve(scope: Scope) -> Any:
        if field != "output":
            return expressions.walk(scope.step_view(step)[field], path, text)
        payload = output_of(scope.state, step)
        if payload.ref is not None:
            return blob_marker(payload.ref, path)
        return expressions.walk(payload.value, path, text)

    return resolve


def _template(text: str, steps: Mapping[str, Any]) -> Resolver:
    compiled = expressions.template(text)
    names = sorted(compiled.variables)

    def resolve(scope: Scope) -> Any:
        inputs = scope.inputs()
        variables: dict[str, Any] = {}
        for name in names:
            if isinstance(inputs, dict) and name in inputs:
                variables[name] = inputs[name]
            elif name == "inputs":
                variables[name] = inputs
            elif name in steps:
                variables[name] = scope.step_view(name)
        value = compiled.render(variables)
        if holds_marker(value):
            raise ExpressionError(f"{text[:80]}: a template may not make the reserved key `$blob`")
        return value

    return resolve


class PlanNode:
    """One node. sources: (step, condition) of its incoming edges; reads: steps that it reads without an edge."""

    __slots__ = (
        "condition",
        "config",
        "for_each",
        "id",
        "inputs",
        "kind",
        "lane",
        "node",
        "parallel",
        "policy",
        "prompt_ref",
        "reads",
        "retry",
        "sources",
        "targets",
        "timeout_ms",
        "worker_policy",
    )

    def __init__(self, node: Any, sources: list[tuple[str, str | None]], reads: list[str], steps: Mapping[str, Any]):
        self.id: str = node.id
        self.kind: str = node.type
        self.lane: str = node.lane
        self.policy: df.Policy = node.policy
        self.retry: df.Retry = node.policy.retry
        self.timeout_ms: int | None = node.policy.timeout_ms
        self.sources = sources
        self.reads = reads
        self.targets: list[str] = []
        self.condition: str | None = node.condition or node.config.condition
        self.parallel: bool = node.config.parallel
        self.for_each: str | None = node.config.for_each
        self.prompt_ref: str = getattr(node.config, "prompt_ref", "")
        arguments = definition_check.all_inputs(node)
        self.inputs = {name: compile_value(value, steps) for name, value in arguments.items()}
        hidden = {"inputs", "tool_args", "function_args", "condition", "parallel", "for_each"}
        self.config: dict[str, Any] = node.config.model_dump(mode="json", exclude=hidden, exclude_defaults=True)
        self.worker_policy: dict[str, Any] = node.policy.model_dump(
            mode="json", include={"quality", "sla_ms", "cache", "model"}, exclude_defaults=True
        )

    def resolve(self, scope: Scope) -> dict[str, Any]:
        """The node's arguments. Raises ExpressionError or NeedBlob."""
        return {name: resolver(scope) for name, resolver in self.inputs.items()}


class Plan:
    """raw: the definition as it stands in the log, shared by all runs of it."""

    def __init__(self, raw: dict[str, Any]) -> None:
        definition = df.load_trusted(raw)
        sources = definition_check.dependencies(definition)
        reads = definition_check.order_dependencies(definition)
        self.raw = raw
        self.workflow = definition.name
        self.nodes: dict[str, PlanNode] = {
            node.id: PlanNode(node, sources[node.id], reads[node.id], sources) for node in definition.dag.nodes
        }
        for node in self.nodes.values():
            for source in self.waits_for(node):
                self.nodes[source].targets.append(node.id)
        self.outputs = {name: compile_value(value, sources) for name, value in definition.outputs.items()}
        self.sinks = [node.id for node in self.nodes.values() if not node.targets]

    @staticmethod
    def waits_for(node: PlanNode) -> list[str]:
        return list(dict.fromkeys([*(source for source, _ in node.sources), *node.reads]))


class Plans:
    """Compiled plans by content, at most PLANS_MAX."""

    def __init__(self) -> None:
        self._plans: OrderedDict[str, Plan] = OrderedDict()

    def get(self, raw: dict[str, Any]) -> Plan:
        key = ids.digest(msgspec.json.encode(raw))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = Plan(raw)
            if len(self._plans) > PLANS_MAX:
                self._plans.popitem(last=False)
        else:
            self._plans.move_to_end(key)
        return plan


def skip_reason(scope: Scope, node: PlanNode) -> str:
    """Why the node is skipped, or the empty string. Raises ExpressionError, NeedBlob."""
    if node.sources:
        if not any(_taken(scope, source, condition) for source, condition in node.sources):
            return "no incoming edge was taken"
    elif node.reads and all(scope.status(name) != StepStatus.COMPLETED for name in node.reads):
        return "every step that it reads was skipped or failed"
    if node.condition is not None and not _holds(scope, node.condition):
        return f"the condition is false: {node.condition}"
    return ""


def _taken(scope: Scope, source: str, condition: str | None) -> bool:
    status = scope.status(source)
    if status == StepStatus.COMPLETED:
        return condition is None or _holds(scope, condition)
    return status == StepStatus.FAILED and condition is not None and _holds(scope, condition)


def _holds(scope: Scope, text: str) -> bool:
    """A condition's value; about a step that was skipped, an expression that fails is simply false."""
    names = expressions.condition_steps(text)
    known = [name for name in names if name != "inputs"]
    inputs = scope.inputs()
    variables: dict[str, Any] = {**inputs, "inputs": inputs} if isinstance(inputs, dict) else {"inputs": inputs}
    for name in known:
        variables[name] = scope.step_view(name)
    try:
        return expressions.condition(text).holds(variables)
    except ExpressionError:
        if any(scope.status(name) != StepStatus.COMPLETED for name in known):
            return False
        raise


def mapped_items(node: PlanNode, inputs: dict[str, Any], scope: Scope) -> tuple[str, list[Any]]:
    """The input that a parallel node maps over, by `for_each` or as the only list, and its items."""
    looked = {name: _inside(value, scope) for name, value in inputs.items()} if node.for_each is None else {}
    name = node.for_each or ""
    if not name:
        lists = [key for key, value in looked.items() if isinstance(value, list)]
        if len(lists) != 1:
            found = "none" if not lists else ", ".join(lists)
            raise ExpressionError(f"a parallel step needs one input that is a list (found: {found}); set `for_each`")
        name = lists[0]
    items = looked[name] if name in looked else _inside(inputs[name], scope)
    if not isinstance(items, list):
        raise ExpressionError(f"the input {name!r} of a parallel step must be a list, it is a {type(items).__name__}")
    return name, items


def _inside(value: Any, scope: Scope) -> Any:
    if is_marker(value):
        payload = Payload(ref=marked_ref(value))
        return expressions.walk(scope.look(payload), tuple(value["path"]), "input")
    return value
