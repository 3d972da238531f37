"""Definitions: parse, check against prompts and workers, register, look up. Nothing is stored before all is checked."""

from __future__ import annotations

import asyncio
import difflib
import functools
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from agentflow_common import rpc
from agentflow_common.definition import Definition, FunctionNode, LlmNode, ToolNode, load_trusted, parse_dict
from agentflow_common.errors import AgentFlowError, AlreadyExistsError, InvalidError, NotFoundError, Problem
from agentflow_gateway import machine
from agentflow_gateway.calls import Call
from agentflow_gateway.deps import Deps
from agentflow_gateway.store import DefinitionRow

CANONICAL_BYTES_MAX: Final = 2 * 1024 * 1024  # it is pinned in `run.submitted`; the server takes messages of 8 MiB
_INLINE_PARSE_CHARS: Final = 32 * 1024  # longer texts are parsed on a thread, so that other calls go on

Lines = Mapping[tuple[str | int, ...], int]


class Source(msgspec.Struct, frozen=True):
    """A definition as the client gave it: exactly one is set. ref: `name[@version]`."""

    ref: str = ""
    text: str | None = None
    data: dict[str, Any] | None = None


class Checked(msgspec.Struct, frozen=True):
    """A definition that may run. identity: what the client asked for, for the submission digest. pinned: prompts."""

    definition: Definition
    canonical: dict[str, Any]
    digest: str
    identity: str
    pinned: dict[str, str]


async def check(deps: Deps, call: Call, source: Source) -> Checked:
    """Everything that can be wrong with a definition is raised from here as InvalidError with places and fixes."""
    loaded, lines = await _load(deps, call, source)
    definition = loaded.definition
    problems = await _unknown_names(deps, definition, lines)
    pinned, missing = await _prompts(deps, call, definition, lines)
    if found := (*missing, *problems):
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise InvalidError(
            f"the workflow definition is not valid: {found[0]}{more}", kind="invalid_definition", problems=found
        )
    identity = f"ref:{source.ref}" if source.ref else f"def:{loaded.digest}"
    return Checked(definition, loaded.canonical, loaded.digest, identity, pinned)


class _Loaded(msgspec.Struct, frozen=True):
    definition: Definition
    canonical: dict[str, Any]
    digest: str


def _loaded(definition: Definition) -> _Loaded:
    canonical = definition.canonical()
    encoded = msgspec.json.encode(canonical, order="sorted")
    if len(encoded) > CANONICAL_BYTES_MAX:
        fix = f"keep it under {CANONICAL_BYTES_MAX:,}: move data to inputs or files"
        raise InvalidError(
            f"the definition is {len(encoded):,} bytes as JSON; {fix}",
            kind="definition_too_large",
            problems=(Problem("definition", f"{len(encoded):,} bytes", fix),),
        )
    machine.check_reserved(encoded, canonical, "definition")
    return _Loaded(definition, canonical, definition.digest())


@functools.lru_cache(maxsize=64)
def _registered(canonical: str) -> _Loaded:
    """A registered definition never changes, so it is read once; nobody changes what this returns."""
    return _loaded(load_trusted(msgspec.json.decode(canonical)))


async def _load(deps: Deps, call: Call, source: Source) -> tuple[_Loaded, Lines | None]:
    if source.ref:
        row = await find(deps, call.org, source.ref)
        return _registered(row.canonical), None
    if source.text is not None:
        text = source.text
        if len(text) < _INLINE_PARSE_CHARS:
            return _parse_text(text)
        return await asyncio.to_thread(_parse_text, text)
    if source.data is not None:
        return _loaded(parse_dict(source.data)), None
    fix = "set `definition_text` (YAML or JSON) or `definition`; a submission may also name a registered `workflow`"
    raise InvalidError(f"no definition was given: {fix}", problems=(Problem("source", "not set", fix),))


def _parse_text(text: str) -> tuple[_Loaded, Lines]:
    from agentflow_common.definition_text import load

    data, lines = load(text)
    return _loaded(parse_dict(data, lines)), lines


async def find(deps: Deps, org: str, ref: str) -> DefinitionRow:
    """NotFoundError suggests what there is."""
    name, version = machine.workflow_ref(ref)
    row = await deps.store.find_definition(org, name, version)
    if row is not None:
        return row
    versions = await deps.store.definition_versions(org, name)
    if versions:
        text = ", ".join(map(str, versions))
        raise NotFoundError(f"workflow {name!r} has no version {version}; it has {text}", kind="unknown_version")
    close = difflib.get_close_matches(name, await deps.store.definition_names(org), n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "register it first: agentctl workflow register FILE"
    raise NotFoundError(f"there is no workflow {name!r}; {hint}", kind="unknown_workflow")


async def _unknown_names(deps: Deps, definition: Definition, lines: Lines | None) -> tuple[Problem, ...]:
    if not await deps.registry.known():
        return ()
    problems: tuple[Problem, ...] = ()
    for kind, places in (("tool", _tool_places(definition, lines)), ("function", _function_places(definition, lines))):
        missing = machine.missing_names(places, await deps.registry.names(kind), kind)
        if missing:  # a worker may have come since the cache was read
            missing = machine.missing_names(places, await deps.registry.names(kind, fresh=True), kind)
        problems += missing
    return problems


def _tool_places(definition: Definition, lines: Lines | None) -> dict[str, str]:
    places: dict[str, str] = {}
    for number, node in enumerate(definition.dag.nodes):
        if isinstance(node, ToolNode):
            path = ("dag", "nodes", number, "config", "tool_name")
            places.setdefault(node.config.tool_name, machine.dotted(path, lines))
    return places


def _function_places(definition: Definition, lines: Lines | None) -> dict[str, str]:
    places: dict[str, str] = {}
    for number, node in enumerate(definition.dag.nodes):
        if isinstance(node, FunctionNode):
            path = ("dag", "nodes", number, "config", "function_name")
            places.setdefault(node.config.function_name, machine.dotted(path, lines))
    return places


async def _prompts(
    deps: Deps, call: Call, definition: Definition, lines: Lines | None
) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Pinned versions by reference, and a problem for each reference that names nothing."""
    refs = tuple(definition.prompt_refs())
    if not refs:
        return {}, ()
    reply = await call.ask(deps.nc, rpc.PROMPT_RESOLVE, rpc.ResolvePromptsRequest(org=call.org, refs=refs))
    if not reply.missing:
        return dict(reply.pinned), ()
    places: dict[str, str] = {}
    for number, node in enumerate(definition.dag.nodes):
        if isinstance(node, LlmNode):
            path = ("dag", "nodes", number, "config", "prompt_ref")
            places.setdefault(node.config.prompt_ref, machine.dotted(path, lines))
    listed = await call.ask(deps.nc, rpc.PROMPT_LIST, rpc.ListPromptsRequest(org=call.org, limit=1000))
    names = [prompt.name for prompt in listed.prompts]
    return dict(reply.pinned), machine.missing_prompts(places, reply.missing, names)


async def register(deps: Deps, call: Call, source: Source) -> tuple[Checked, bool]:
    """Stores the definition; False if this very one was there. AlreadyExistsError if its version holds another."""
    checked = await check(deps, call, source)
    definition = checked.definition
    text = msgspec.json.encode(checked.canonical, order="sorted").decode()
    row = DefinitionRow(name=definition.name, version=definition.version, digest=checked.digest, canonical=text)
    there = await deps.store.add_definition(call.org, row, deps.clock.now_ms(), call.identity.actor)
    if there is not None and there.digest != checked.digest:
        newest = (await deps.store.definition_versions(call.org, definition.name))[0]
        raise AlreadyExistsError(
            f"version {definition.version} of {definition.name!r} is registered with another content and can't change; "
            f"raise `version` to {newest + 1} and register again",
            kind="version_taken",
            problems=(Problem("version", f"{definition.version} is taken", f"set it to {newest + 1}"),),
        )
    return checked, there is None


async def problems_of(deps: Deps, call: Call, source: Source) -> tuple[Checked | None, tuple[Problem, ...]]:
    """For validation without storing: the definition, or what is wrong with it. Other errors are raised."""
    try:
        return await check(deps, call, source), ()
    except AgentFlowError as error:
        if error.code != "invalid_argument":
            raise
        return None, error.problems or (Problem("definition", error.message),)
