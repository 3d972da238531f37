"""What the expressions of a definition may see of a run, and values compiled to closures over it. Pure.

Values that are stored out of line are passed on by reference; only an expression that looks inside one asks for it
(`NeedBlob`), and the shell fetches it and decides again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from agentflow_common import expressions
from agentflow_common.events import BlobRef, Payload
from agentflow_common.expressions import ExpressionError, Path
from agentflow_common.runstate import (
    RunState,
    StepStatus,
    blob_marker,
    holds_marker,
    is_marker,
    marked_ref,
    newest_key,
    node_of,
    output_of,
)

_MISSING: Final = object()


class NeedBlob(Exception):
    """An expression looks inside a value that is stored out of line and not at hand."""

    def __init__(self, ref: BlobRef) -> None:
        super().__init__(ref.sha256)
        self.ref = ref


class Scope:
    """A run's inputs and steps, and names that mean something here alone. blobs: values by SHA-256. over: values that
    are about to stand in the shared state. own: the step that its node's name means, if not the newest of it."""

    __slots__ = ("blobs", "local", "over", "own", "state")

    def __init__(self, state: RunState, blobs: Mapping[str, Any], local: Mapping[str, Any] | None = None) -> None:
        self.state = state
        self.blobs = blobs
        self.local = local or {}
        self.over: Mapping[str, Any] = {}
        self.own = ""

    def within(self, local: Mapping[str, Any]) -> Scope:
        return Scope(self.state, self.blobs, local)

    def look(self, payload: Payload) -> Any:
        if payload.ref is None:
            return payload.value
        if payload.ref.sha256 not in self.blobs:
            raise NeedBlob(payload.ref)
        return self.blobs[payload.ref.sha256]

    def inside(self, value: Any) -> Any:
        """The value itself, where a marker stands for one that is stored out of line."""
        if is_marker(value):
            whole = self.look(Payload(ref=marked_ref(value)))
            return self.inside(expressions.walk(whole, tuple(value["path"]), "input"))
        if isinstance(value, dict):
            return {key: self.inside(item) for key, item in value.items()}
        if isinstance(value, list) and holds_marker(value):
            return [self.inside(item) for item in value]
        return value

    def inputs(self) -> Any:
        return self.look(self.state.inputs)

    def key(self, step: str) -> str:
        """The visit of a node that others see: in a loop the newest that has ended."""
        if self.own and node_of(self.own) == step:
            return self.own
        return newest_key(self.state, step) if self.state.visits else step

    def output(self, step: str) -> Payload:
        return output_of(self.state, self.key(step))

    def status(self, step: str) -> str:
        found = self.state.steps.get(self.key(step))
        return str(found.status) if found else str(StepStatus.PENDING)

    def step_view(self, step: str) -> dict[str, Any]:
        found = self.state.steps.get(self.key(step))
        error = found.error if found else None
        return {
            "output": self.look(self.output(step)),
            "status": self.status(step),
            "error": {"type": error.type, "message": error.message} if error else None,
        }

    def shared(self, names: Collection[str] | None = None) -> dict[str, Any]:
        """The shared state, or these keys of it as far as they are there."""
        held = {
            name: self.look(payload)
            for name, payload in self.state.shared.items()
            if name not in self.over and (names is None or name in names)
        }
        return {**held, **self.over}

    def shared_by_reference(self) -> dict[str, Any]:
        return {n: p.value if p.ref is None else blob_marker(p.ref) for n, p in self.state.shared.items()}

    def built_in(self, name: str) -> Any:
        if name == "inputs":
            return self.inputs()
        if name == "state":
            return self.shared()
        if name == "tags":
            return dict(self.state.tags)
        return getattr(self.state, name) if name in {"org", "run", "workflow"} else _MISSING

    def variable(self, name: str, steps: Collection[str]) -> Any:
        """What a name means in a template; `_MISSING` for nothing."""
        if name in self.local:
            return self.local[name]
        inputs = self.inputs()
        if isinstance(inputs, dict) and name in inputs:
            return inputs[name]
        if name in steps:
            return self.step_view(name)
        return self.built_in(name)


Resolver = Callable[[Scope], Any]


def compile_value(value: Any, steps: Collection[str]) -> Resolver:
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


def _part(value: dict[str, Any] | list[Any], part: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(str(part))
    return value[part] if isinstance(part, int) and part < len(value) else None


def _reference(text: str, step: str, field: str, path: Path) -> Resolver:
    def resolve(scope: Scope) -> Any:
        if field != "output":
            return expressions.walk(scope.step_view(step)[field], path, text)
        payload = scope.output(step)
        if payload.ref is not None:
            return blob_marker(payload.ref, path)
        found = payload.value
        for depth, part in enumerate(path):
            if is_marker(found):  # a child's value that is stored out of line
                return blob_marker(marked_ref(found), (*found["path"], *path[depth:]))
            if not isinstance(found, dict | list):
                break
            found = _part(found, part)
        return expressions.walk(payload.value, path, text)

    return resolve


def _template(text: str, steps: Collection[str]) -> Resolver:
    compiled = expressions.template(text)
    names = sorted(compiled.variables)

    def resolve(scope: Scope) -> Any:
        variables: dict[str, Any] = {}
        for name in names:
            value = scope.variable(name, steps)
            if value is not _MISSING:
                variables[name] = value
        value = compiled.render(variables)
        if holds_marker(value):
            raise ExpressionError(f"{text[:80]}: a template may not make the reserved key `$blob`")
        return value

    return resolve


def holds(scope: Scope, text: str) -> bool:
    """A condition's value; about a step that was skipped, an expression that fails is simply false."""
    own = {*scope.local, "inputs"} | ({"state"} if scope.state.superstep else set())
    known = [name for name in expressions.condition_steps(text) if name not in own]
    inputs = scope.inputs()
    variables: dict[str, Any] = {**inputs, "inputs": inputs} if isinstance(inputs, dict) else {"inputs": inputs}
    state = scope.state
    variables.update(org=state.org, run=state.run, workflow=state.workflow, tags=dict(state.tags))
    if state.superstep:
        variables["state"] = scope.shared(expressions.condition_keys(text))
    for name in known:
        variables[name] = scope.step_view(name)
    variables.update(scope.local)
    try:
        return expressions.condition(text).holds(variables)
    except ExpressionError:
        if any(scope.status(name) != StepStatus.COMPLETED for name in known):
            return False
        raise


def taken(scope: Scope, source: str, condition: str | None) -> bool:
    """Whether an edge from this step is taken."""
    status = scope.status(source)
    if status == StepStatus.COMPLETED:
        return condition is None or holds(scope, condition)
    return status == StepStatus.FAILED and condition is not None and holds(scope, condition)
