"""The scope of a run: the values that the expressions of its definition may read, and closures that compute them. Pure.

Values that are stored out of line are passed on by reference. Only an expression that looks inside one asks for it
(`NeedBlob`). The engine then fetches the value and decides again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec

from agentflow_common.errors import InvalidError
from agentflow_common.events import BlobRef, Payload
from agentflow_common.expressions import language as expressions
from agentflow_common.expressions.language import Path
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.expressions.state_schema import VALUE_BYTES_MAX
from agentflow_common.runs.state import (
    MARKER,
    RunState,
    StepStatus,
    blob_marker,
    by_reference,
    child_key,
    holds_marker,
    is_marker,
    marked_ref,
    newest_key,
    node_of,
    output_of,
)

LOOK_BYTES_MAX: Final = 32 * 1024 * 1024  # of values stored out of line that are looked into at once
NOT_DONE: Final = frozenset({StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN})
_NO_OUTPUT: Final = NOT_DONE | {StepStatus.CANCELLED}
RAN: Final = frozenset({StepStatus.COMPLETED, *NOT_DONE})  # the steps after such a step are not skipped with it
T = TypeVar("T")
_MISSING: Final = object()
_WHOLE_OUTPUT: Final = re.compile(r"\{\{\s*([A-Za-z_]\w*)\.output\s*\}\}\Z")


class NeedBlob(Exception):
    """An expression looks inside values that are stored out of line and not fetched yet."""

    def __init__(self, refs: Iterable[BlobRef]) -> None:
        self.refs = tuple(dict.fromkeys(refs))
        super().__init__(", ".join(ref.sha256 for ref in self.refs[:4]))


class FieldError(ExpressionError):
    """An error in a field of a definition, for example `tool_args.to[0]`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def at_field(field: str, error: InvalidError) -> FieldError:
    """Returns the error with the name of the field that it is in, put before the name of an inner field."""
    if not isinstance(error, FieldError):
        return FieldError(field, error.message)
    return FieldError(f"{field}{'' if error.field.startswith('[') else '.'}{error.field}", error.reason)


def in_field(field: str, compute: Callable[..., T], *arguments: Any) -> T:
    """Returns what `compute` returns. An error gets the name of the field. Raises FieldError."""
    try:
        return compute(*arguments)
    except InvalidError as error:
        raise at_field(field, error) from None


def gathered(
    resolvers: Mapping[str, Callable[[Scope], Any]], scope: Scope, fields: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Computes all of the values. If several need values that are not fetched yet, they ask for them together.

    fields: the place of each value in the definition, for errors. Raises ExpressionError, NeedBlob.
    """
    values: dict[str, Any] = {}
    needs: dict[BlobRef, None] = {}
    for name, resolver in resolvers.items():
        try:
            values[name] = resolver(scope)
        except NeedBlob as need:
            needs.update(dict.fromkeys(need.refs))
        except InvalidError as error:
            raise (error if fields is None else at_field(fields.get(name, name), error)) from None
    if needs:
        _bound(needs)
        raise NeedBlob(needs)
    return values


def _bound(refs: Iterable[BlobRef]) -> None:
    size = sum(ref.size for ref in refs)
    if size > LOOK_BYTES_MAX:
        raise ExpressionError(
            f"this looks into {size:,} bytes that are stored out of line, and at most {LOOK_BYTES_MAX:,} are taken at "
            "once: compute the value in a step before it"
        )


def fitting(value: T, what: str) -> T:
    """Returns the value if it can be stored. Raises ExpressionError."""
    try:
        size = len(msgspec.json.encode(value))
    except (UnicodeEncodeError, OverflowError, RecursionError, TypeError) as error:
        raise ExpressionError(f"{what} is not JSON: {type(error).__name__}: {str(error)[:120]}") from None
    if size > VALUE_BYTES_MAX:
        raise ExpressionError(
            f"{what} is {size:,} bytes as JSON, the limit is {VALUE_BYTES_MAX:,}: put it in a file or a bucket and "
            "pass its key"
        )
    return value


def _markers(value: Any) -> Iterator[BlobRef]:
    if is_marker(value):
        yield marked_ref(value)
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _markers(item)


def _holds_lists(state: RunState, key: str) -> bool:
    """True if the outputs of a step's children are lists of outputs, because they are maps."""
    children = (state.steps.get(child_key(key, index)) for index in range(state.steps[key].width))
    first = next((child for child in children if child is not None and child.status is StepStatus.COMPLETED), None)
    return first is not None and first.width >= 0


class Scope(msgspec.Struct, eq=False):
    """A run's inputs and steps, and local names."""

    state: RunState
    blobs: Mapping[str, Any]  # fetched values by SHA-256
    local: Mapping[str, Any] = {}  # names that have a value here only, for example the item of a map
    over: Mapping[str, Any] = {}  # values that will replace those of the shared state
    own: str = ""  # the visit of its node that the node's name refers to; "": the newest that has ended

    def within(self, local: Mapping[str, Any]) -> Scope:
        """Returns a scope of the same run with these local names beside those that it has."""
        return Scope(self.state, self.blobs, {**self.local, **local} if self.local else local, self.over, self.own)

    def looked_into(self) -> Scope:
        """Returns the scope with the values of all markers in its local names. Raises ExpressionError, NeedBlob."""
        return self.within({name: self.inside(value) for name, value in self.local.items()})

    def look(self, payload: Payload) -> Any:
        """Returns the value itself. Raises NeedBlob."""
        if payload.ref is None:
            return payload.value
        if payload.ref.sha256 not in self.blobs:
            raise NeedBlob([payload.ref])
        return self.blobs[payload.ref.sha256]

    def inside(self, value: Any) -> Any:
        """Returns the value with the values of all markers in it. Raises ExpressionError, NeedBlob."""
        if not holds_marker(value):
            return value
        missing = dict.fromkeys(ref for ref in _markers(value) if ref.sha256 not in self.blobs)
        if missing:
            _bound(missing)
            raise NeedBlob(missing)
        return self._put_in(value)

    def _put_in(self, value: Any) -> Any:
        if is_marker(value):
            whole = self.look(Payload(ref=marked_ref(value)))
            return self.inside(expressions.walk(whole, tuple(value["path"]), "input"))
        if isinstance(value, dict):
            return {key: self._put_in(item) for key, item in value.items()}
        return [self._put_in(item) for item in value] if isinstance(value, list) else value

    def inputs(self) -> Any:
        return self.look(self.state.inputs)

    def key(self, step: str) -> str:
        """Returns the key of the visit of a node that others see: in a loop the newest that has ended."""
        if self.own and node_of(self.own) == step:
            return self.own
        return newest_key(self.state, step) if self.state.visits else step

    def output(self, step: str) -> Payload:
        """Returns a step's output. It is null for a step that failed or lost, even if parts of it have outputs."""
        return Payload() if self.status(step) in _NO_OUTPUT else output_of(self.state, self.key(step))

    def status(self, step: str) -> str:
        found = self.state.steps.get(self.key(step))
        return str(found.status) if found else str(StepStatus.PENDING)

    def step_view(self, step: str) -> dict[str, Any]:
        found = self.state.steps.get(self.key(step))
        error = found.error if found else None
        output = self.look(self.output(step))
        if found is not None and found.width >= 0 and output is not None:
            output = self._parts(output, _holds_lists(self.state, self.key(step)))
        return {
            "output": output,
            "status": self.status(step),
            "error": {"type": error.type, "message": error.message} if error else None,
        }

    def _parts(self, outputs: dict[str, Any] | list[Any], nested: bool) -> Any:
        """Returns the outputs of a step's children with the values of their markers.

        If those are too large together, the markers stay. The list then still has its length and the small outputs.
        nested: the children have children.
        """
        items = outputs if isinstance(outputs, list) else outputs.values()
        refs = dict.fromkeys(_markers([*items]) if nested else (marked_ref(item) for item in items if is_marker(item)))
        if not refs or sum(ref.size for ref in refs) > LOOK_BYTES_MAX:
            return outputs
        if missing := [ref for ref in refs if ref.sha256 not in self.blobs]:
            raise NeedBlob(missing)
        values = [self._put_in(item) if nested or is_marker(item) else item for item in items]
        return values if isinstance(outputs, list) else dict(zip(outputs, values, strict=True))

    def shared(self, names: Collection[str] | None = None) -> dict[str, Any]:
        """Returns the shared state, or only these keys of it."""
        stored = {
            name: self.look(payload)
            for name, payload in self.state.shared.items()
            if name not in self.over and (names is None or name in names)
        }
        return {**stored, **self.over}

    def shared_by_reference(self) -> dict[str, Any]:
        """Returns the shared state, with markers for values that are stored out of line."""
        return {name: by_reference(payload) for name, payload in self.state.shared.items()}

    def built_in(self, name: str) -> Any:
        if name == "inputs":
            return self.inputs()
        if name == "state":
            return self.shared()
        if name == "tags":
            return dict(self.state.tags)
        return getattr(self.state, name) if name in {"org", "run", "workflow"} else _MISSING

    def means_step(self, name: str) -> bool:
        """True if neither a local name nor an input hides the step's name."""
        if name in self.local:
            return False
        inputs = self.inputs()
        return not (isinstance(inputs, dict) and name in inputs)

    def variable(self, name: str, steps: Collection[str]) -> Any:
        """Returns the value of a name in a template, or `_MISSING`."""
        if name in self.local:
            value = self.local[name]
            return self.inside(value) if is_marker(value) else value  # an item that a child of another step gave
        inputs = self.inputs()
        if isinstance(inputs, dict) and name in inputs:
            return inputs[name]
        if name in steps:
            return self.step_view(name)
        return self.built_in(name)


Resolver = Callable[[Scope], Any]


def compile_value(value: Any, steps: Collection[str]) -> Resolver:
    """Returns a closure that computes the value with its references and templates replaced."""
    if isinstance(value, str):
        reference = expressions.parse_reference(value)
        if reference is not None and reference[0] in steps:
            return _reference(value, *reference)
        if expressions.is_template(value):
            return _template(value, steps)
        return lambda _scope: value
    if isinstance(value, dict):
        parts = {str(key): compile_value(item, steps) for key, item in value.items()}
        return lambda scope: gathered(parts, scope, {})
    if isinstance(value, list | tuple):
        items = {f"[{number}]": compile_value(item, steps) for number, item in enumerate(value)}
        return lambda scope: list(gathered(items, scope, {}).values())
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


def _variable(name: str, steps: Collection[str]) -> Resolver:
    return lambda scope: scope.variable(name, steps)


def _view(name: str) -> Resolver:
    return lambda scope: scope.step_view(name)


def _template(text: str, steps: Collection[str]) -> Resolver:
    compiled = expressions.template(text)
    names = {name: _variable(name, steps) for name in sorted(compiled.variables)}
    whole = match[1] if (match := _WHOLE_OUTPUT.match(text)) and match[1] in steps else None
    refer = None if whole is None else _reference(f"{whole}.output", whole, "output", ())

    def resolve(scope: Scope) -> Any:
        if refer is not None and whole is not None and scope.means_step(whole):
            return refer(scope)  # by reference, as `node.output`
        variables = {name: value for name, value in gathered(names, scope).items() if value is not _MISSING}
        value = compiled.render(variables)
        if holds_marker(value):
            raise ExpressionError(f"{text[:80]}: a template may not make the reserved key `{MARKER}`")
        return value

    return resolve


def holds(scope: Scope, text: str) -> bool:
    """True if the condition holds. Raises ExpressionError, NeedBlob.

    The output of a step that was skipped or failed is null, and so is every part of it. See null_safe.py.
    """
    own = {*scope.local, "inputs"} | ({"state"} if scope.state.superstep else set())
    known = [name for name in expressions.condition_steps(text) if name not in own]
    inputs = scope.inputs()
    variables: dict[str, Any] = {**inputs, "inputs": inputs} if isinstance(inputs, dict) else {"inputs": inputs}
    state = scope.state
    variables.update(org=state.org, run=state.run, workflow=state.workflow, tags=dict(state.tags))
    if state.superstep:
        variables["state"] = scope.shared(expressions.condition_keys(text))
    variables.update(gathered({name: _view(name) for name in known}, scope))
    variables.update(scope.local)
    try:
        return expressions.condition(text).holds(variables)
    except ExpressionError as error:
        nothing = [f"{name} is {scope.status(name)}" for name in known if scope.status(name) != StepStatus.COMPLETED]
        if not nothing:
            raise
        text = f"{error.message} ({', '.join(nothing)}: its output is null)"
        raise ExpressionError(text) from error


def taken(scope: Scope, source: str, condition: str | None) -> bool:
    """True if an edge from this step is taken: the step ran, and the condition holds. Raises ExpressionError, NeedBlob.

    A step that failed, or whose outcome is unknown, counts as one that ran. The caller asks only if the run goes on
    without it.
    """
    if scope.status(source) not in RAN:
        return False
    return condition is None or holds(scope, condition)
