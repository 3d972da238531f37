"""The tools and functions that a worker can run: decorators, discovery, argument schemas.

A decorator only marks the callable. A `Registry` collects the marked callables of a module. So
importing a module has no effect elsewhere, and two registries (two tests, two workers) never share
state.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import logging
import re
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, TypeVar

from agentflow_common.errors import AlreadyExistsError, InvalidError, NotFoundError, Problem
from agentflow_common.hints import near
from agentflow_worker.context import StepContext

if typing.TYPE_CHECKING:
    from pydantic import TypeAdapter

log = logging.getLogger(__name__)

Kind = Literal["tool", "function"]
ENTRY_POINT_GROUP: Final = "agentflow.tools"
BUILT_IN_MODULES: Final = (
    "agentflow_worker.tools",
    "agentflow_worker.builtins.functions",
    "agentflow_worker.builtins.code",
)
_OWN_PACKAGE: Final = __name__.partition(".")[0]
_MARK: Final = "__agentflow_registration__"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}\Z")

CallableT = TypeVar("CallableT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument."""

    name: str
    annotation: Any  # the resolved type hint, Any without one
    required: bool
    default: Any = None


@dataclass(frozen=True, slots=True)
class Registration:
    """A callable that a step can name."""

    kind: Kind
    name: str
    call: Callable[..., Any]
    idempotent: bool  # repeating it with the same idempotency key does no harm
    reveal: tuple[str, ...]  # arguments whose vault tokens are replaced by the originals before the call
    is_async: bool
    parameters: tuple[Parameter, ...]
    context_parameter: str | None  # the argument that receives the StepContext
    open_ended: bool  # it takes any further arguments by name
    doc: str
    aliases: Mapping[str, str] = field(default_factory=dict)  # other names of arguments, each with the name here
    branches: str = ""  # the argument that gets the outputs of the steps before, if the definition gives none
    _adapter: list[TypeAdapter[dict[str, Any]]] = field(default_factory=list, repr=False, compare=False)
    _schema: list[dict[str, Any]] = field(default_factory=list, repr=False, compare=False)

    @property
    def adapter(self) -> TypeAdapter[dict[str, Any]]:
        """The validator of an arguments object.

        It is built at the first use, because that costs a millisecond.
        """
        if not self._adapter:
            self._adapter.append(_build_adapter(self))
        return self._adapter[0]

    def schema(self) -> dict[str, Any]:
        """Returns the JSON Schema of the arguments object; made once, so it is not to be changed."""
        if not self._schema:
            self._schema.append(self._make_schema())
        return self._schema[0]

    def _make_schema(self) -> dict[str, Any]:
        schema = self.adapter.json_schema()
        schema.pop("title", None)
        for parameter in self.parameters:
            if not parameter.required and isinstance(parameter.default, str | int | float | bool | None):
                schema.get("properties", {}).get(parameter.name, {}).setdefault("default", parameter.default)
        return schema

    def by_own_names(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Returns the inputs under the names of the arguments. An argument's own name wins over an alias."""
        if inputs.keys().isdisjoint(self.aliases):
            return inputs
        renamed = {own: inputs[name] for name, own in self.aliases.items() if name in inputs}
        return {**renamed, **{name: value for name, value in inputs.items() if name not in self.aliases}}

    def unchecked(self) -> list[str]:
        """Returns arguments that are converted by code of their type, which the schema does not describe."""
        core: Any = self.adapter.core_schema
        named = {item["ref"]: item for item in core.get("definitions", ())}
        fields = _fields_of(core, named)
        return [p.name for p in self.parameters if p.name not in fields or _runs_code(fields[p.name], named)]


def _fields_of(core: Any, named: dict[str, Any]) -> dict[str, Any]:
    while core.get("type") in {"definitions", "definition-ref"}:
        core = core["schema"] if core["type"] == "definitions" else named.get(core["schema_ref"], {})
    return dict(core.get("fields", {}))


def _runs_code(part: Any, named: dict[str, Any], seen: frozenset[str] = frozenset()) -> bool:
    """True if a validator of the author stands anywhere in a core schema."""
    if isinstance(part, dict):
        ref = part.get("schema_ref")
        if isinstance(ref, str) and ref not in seen and _runs_code(named.get(ref), named, seen | {ref}):
            return True
        if str(part.get("type", "")).startswith("function-"):
            return True
        return any(_runs_code(value, named, seen) for key, value in part.items() if key != "metadata")
    return isinstance(part, list | tuple) and any(_runs_code(item, named, seen) for item in part)


def tool(
    name: str | None = None,
    *,
    idempotent: bool = False,
    reveal: tuple[str, ...] = (),
    aliases: Mapping[str, str] | None = None,
) -> Callable[[CallableT], CallableT]:
    """Makes a callable usable as `type: tool`.

    Tools touch the world: say `idempotent=True` if repeating does no harm.

    aliases: other names under which a definition may give an argument.
    """
    return _mark("tool", name, idempotent, reveal, aliases or {}, "")


def function(
    name: str | None = None, *, reveal: tuple[str, ...] = (), branches: str = ""
) -> Callable[[CallableT], CallableT]:
    """Makes a callable usable as `type: function`.

    Functions compute; they are idempotent by definition.

    branches: the argument that gets the outputs of the steps before, by their ids, if a definition gives no argument.
    """
    return _mark("function", name, True, reveal, {}, branches)


def _mark(
    kind: Kind, name: str | None, idempotent: bool, reveal: tuple[str, ...], aliases: Mapping[str, str], branches: str
) -> Callable[[CallableT], CallableT]:
    def mark(call: CallableT) -> CallableT:
        made = _inspect(kind, name or call.__name__, call, idempotent, reveal)
        known = {parameter.name for parameter in made.parameters}
        if strangers := {*aliases.values(), *([branches] if branches else [])} - known:
            raise InvalidError(f"{kind} {made.name}: {sorted(strangers)} are not arguments")
        setattr(call, _MARK, replace(made, aliases=dict(aliases), branches=branches))
        return call

    return mark


def _inspect(
    kind: Kind, name: str, call: Callable[..., Any], idempotent: bool, reveal: tuple[str, ...]
) -> Registration:
    if not _NAME.match(name):
        raise InvalidError(f"{kind} name {name!r} is not valid: use letters, digits, '.', '_' or '-'")
    try:
        hints = typing.get_type_hints(call, include_extras=True)
    except NameError as error:
        raise InvalidError(
            f"{kind} {name}: a type hint can't be resolved: {error}. Import the type at run time, outside TYPE_CHECKING"
        ) from error
    parameters: list[Parameter] = []
    context_parameter: str | None = None
    open_ended = False
    for parameter in inspect.signature(call).parameters.values():
        annotation = hints.get(parameter.name, Any)
        if annotation is StepContext:
            context_parameter = parameter.name
        elif parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise InvalidError(f"{kind} {name}: argument {parameter.name!r} can't be passed by name")
        else:
            required = parameter.default is parameter.empty
            parameters.append(Parameter(parameter.name, annotation, required, None if required else parameter.default))
    unknown = set(reveal) - {p.name for p in parameters}
    if unknown and not open_ended:
        raise InvalidError(f"{kind} {name}: reveal names {sorted(unknown)}, which are not arguments")
    return Registration(
        kind=kind,
        name=name,
        call=call,
        idempotent=idempotent,
        reveal=reveal,
        is_async=inspect.iscoroutinefunction(call),
        parameters=tuple(parameters),
        context_parameter=context_parameter,
        open_ended=open_ended,
        doc=inspect.getdoc(call) or "",
    )


def _build_adapter(registration: Registration) -> TypeAdapter[dict[str, Any]]:
    from pydantic import ConfigDict, TypeAdapter
    from typing_extensions import TypedDict

    fields = {p.name: p.annotation if p.required else typing.NotRequired[p.annotation] for p in registration.parameters}
    # a dict type, not a model: arguments may then have any name (`json`, `schema`) and arrive ready for **kwargs
    make: Any = TypedDict
    arguments: Any = make(f"{registration.name} arguments", fields)
    arguments.__module__ = registration.call.__module__
    arguments.__pydantic_config__ = ConfigDict(
        extra="allow" if registration.open_ended else "forbid", arbitrary_types_allowed=True
    )
    return TypeAdapter(arguments)


class Registry:
    """Registrations by kind and name."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, str], Registration] = {}

    def add(self, call: Callable[..., Any] | Registration) -> Registration:
        """Adds a decorated callable.

        AlreadyExistsError if the name is taken by another callable.
        """
        registration = call if isinstance(call, Registration) else getattr(call, _MARK, None)
        if not isinstance(registration, Registration):
            raise InvalidError(f"{call!r} is not decorated: put @tool(...) or @function(...) above it")
        key = (registration.kind, registration.name)
        taken = self._items.setdefault(key, registration)
        if taken.call is not registration.call:
            raise AlreadyExistsError(
                f"{registration.kind} {registration.name!r} of {registration.call.__module__} is already provided by "
                f"{taken.call.__module__}: rename one of them"
            )
        return registration

    def get(self, kind: str, name: str) -> Registration:
        """Returns the registration. Raises NotFoundError, which suggests close names."""
        registration = self._items.get((kind, name))
        if registration is not None:
            return registration
        names = [n for k, n in self._items if k == kind]
        close = near(name, names, most=3, cutoff=0.5)
        if close:
            fix = f"did you mean {' or '.join(close)}?"
        elif (other := "function" if kind == "tool" else "tool", name) in self._items:
            fix = f"it is a {other}: use type: {other}"
        else:
            fix = f"known: {', '.join(sorted(names)) or 'none'}; load more with WORKER_LOAD or --load"
        raise NotFoundError(
            f"no {kind} is named {name!r}; {fix}", kind=f"unknown_{kind}", problems=(Problem(name, "unknown", fix),)
        )

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)

    def describe(self) -> list[dict[str, Any]]:
        """Returns each registration as JSON: kind, name, idempotent, reveal, schema, unchecked,
        doc, built_in, aliases, branches.

        They are sorted by kind and name.
        """
        return [
            {
                "kind": item.kind,
                "name": item.name,
                "idempotent": item.idempotent,
                "reveal": list(item.reveal),
                "schema": item.schema(),
                "unchecked": item.unchecked(),
                "doc": item.doc,
                "built_in": item.call.__module__.partition(".")[0] == _OWN_PACKAGE,
                "aliases": dict(item.aliases),
                "branches": item.branches,
            }
            for _, item in sorted(self._items.items())
        ]

    def load_module(self, target: str) -> int:
        """Imports `pkg.mod` or `path/to/file.py`, adds what it decorates, and returns how many that
        is.

        Raises InvalidError if it can't be imported or decorates nothing.
        """
        try:
            module = _import_file(Path(target)) if target.endswith(".py") else importlib.import_module(target)
        except Exception as error:
            raise InvalidError(
                f"{target} can't be loaded: {type(error).__name__}: {error}", kind="load_failed"
            ) from error
        added = self.add_module(module)
        if not added:
            raise InvalidError(f"{target} has no @tool or @function", kind="load_failed")
        return added

    def add_module(self, module: ModuleType) -> int:
        """Adds what the module decorates (or imports decorated), and returns how many that is."""
        marked = [value for value in vars(module).values() if isinstance(getattr(value, _MARK, None), Registration)]
        for value in marked:
            self.add(value)
        return len(marked)

    def load_entry_points(self) -> None:
        """Adds what installed packages offer under the group `agentflow.tools` (a module or a
        decorated callable).

        A package that fails is logged and left out: one broken plugin must not stop the worker.
        """
        for point in _offered():
            try:
                loaded = point.load()
                if isinstance(loaded, ModuleType):
                    self.add_module(loaded)
                else:
                    self.add(loaded)
            except Exception:
                log.exception("entry point %s (%s) failed", point.name, point.value)


@cache
def _offered() -> tuple[EntryPoint, ...]:
    """Reads the entry points of all installed packages, which takes some milliseconds."""
    return tuple(entry_points(group=ENTRY_POINT_GROUP))


def built_in_registry() -> Registry:
    """Returns the tools and functions that come with the worker."""
    registry = Registry()
    for name in BUILT_IN_MODULES:
        registry.add_module(importlib.import_module(name))
    return registry


def default_registry(load: tuple[str, ...] = ()) -> Registry:
    """Returns the built-in tools and functions, those of entry points, and those of the modules in `load`."""
    registry = built_in_registry()
    registry.load_entry_points()
    for target in load:
        registry.load_module(target)
    return registry


def _import_file(path: Path) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"no file {path.name} there")
    # the name carries a digest of the path, so that two files of one name don't replace each other
    name = f"agentflow_load_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
