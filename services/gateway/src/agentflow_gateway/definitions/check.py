"""Definitions: parse, check against prompts, workers and subworkflows, register, look up. Nothing is stored before."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from agentflow_common import rpc
from agentflow_common.definition.checks import tool_arguments
from agentflow_common.definition.model import Definition, load_trusted
from agentflow_common.definition.parse import InvalidDefinitionError, parse_dict
from agentflow_common.errors import AgentFlowError, AlreadyExistsError, InvalidError, Problem
from agentflow_gateway import limits
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.definitions import lookup, pin_subworkflows, unknown_names
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.store.runs import DefinitionRow

CANONICAL_BYTES_MAX: Final = 2 * 1024 * 1024  # it is pinned in `run.submitted`; the server takes messages of 8 MiB
_INLINE_PARSE_CHARS: Final = 32 * 1024  # longer texts are parsed on a thread, so that other calls go on

Lines = Mapping[tuple[str | int, ...], int]


class Source(msgspec.Struct, frozen=True):
    """A definition as the client gave it: exactly one is set. ref: `name`, `name@version` or `name@label`."""

    ref: str = ""
    text: str | None = None
    data: dict[str, Any] | None = None


class Checked(msgspec.Struct, frozen=True):
    """A definition that may run. identity: what the client asked for, for the submission digest. pinned: prompts.
    definitions: those of its subworkflows, by reference."""

    definition: Definition
    canonical: dict[str, Any]
    digest: str
    identity: str
    pinned: dict[str, str]
    definitions: dict[str, dict[str, Any]] = {}


async def check(deps: Deps, call: Call, source: Source, run: str = "") -> Checked:
    """Everything that can be wrong with a definition is raised from here as InvalidError with places and fixes.

    run: for whom it is, which decides where a label has a canary.
    """
    try:
        loaded, lines = await load(deps, call.org, source, run)
    except InvalidDefinitionError as error:
        raise await _with_unknown_names(deps, call, error, source) from None
    return await check_loaded(deps, call, loaded, lines, f"ref:{source.ref}" if source.ref else "", run)


async def _with_unknown_names(deps: Deps, call: Call, error: InvalidDefinitionError, source: Source) -> InvalidError:
    """The error with the tools, functions and prompts too that are not known: they are looked up in the same go."""
    if error.readable is None:
        return error
    lines = None
    if source.text is not None:
        from agentflow_common.definition.yaml_text import load as load_text

        _, lines = load_text(source.text)
    parts: Parts = [(loaded_of(error.readable), lines, "")]
    _, missing = await _prompts(deps, call, parts)
    trusts = error.repair.trusts if error.repair is not None else _any
    unknown = (*await _unknown_names(deps, parts), *await _unfit_arguments(deps, parts, trusts))
    return InvalidError(error.message, kind=error.kind, problems=(*error.problems, *missing, *unknown))


async def check_loaded(
    deps: Deps, call: Call, loaded: Loaded, lines: Lines | None, identity: str, run: str = ""
) -> Checked:
    definition = loaded.definition
    nested: dict[str, Loaded] = {}

    async def find(ref: str) -> pin_subworkflows.Found:
        row = await lookup.find(deps, call.org, ref, run)
        there = nested[ref] = _registered(row.canonical)
        return pin_subworkflows.Found(there.definition, there.canonical, there.digest)

    pinned_definitions: dict[str, dict[str, Any]] = {}
    unfit: tuple[Problem, ...] = ()
    if "subworkflow" in loaded.uses:
        subworkflows = await pin_subworkflows.pin(definition, loaded.digest, find)
        pinned_definitions, unfit = subworkflows.definitions, subworkflows.problems
    parts: Parts = [(loaded, lines, "")]
    parts += [(item, None, f"{pin_subworkflows.title(item.definition)}: ") for item in nested.values()]
    problems = (*await _unknown_names(deps, parts), *await _unfit_arguments(deps, parts))
    pinned, missing = await _prompts(deps, call, parts)
    if found := (*missing, *problems, *unfit):
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise InvalidError(
            f"the workflow definition is not valid: {found[0]}{more}", kind="invalid_definition", problems=found
        )
    return Checked(
        definition, loaded.canonical, loaded.digest, identity or f"def:{loaded.digest}", pinned, pinned_definitions
    )


_NAMED_BY: Final = {"tool": "tool_name", "function": "function_name", "llm": "prompt_ref", "subworkflow": "workflow"}
Path = tuple[str | int, ...]


class Loaded(msgspec.Struct, frozen=True):
    """uses: by kind of work, each name that is called with the place of its first use."""

    definition: Definition
    canonical: dict[str, Any]
    digest: str
    uses: dict[str, dict[str, Path]]


Parts = list[tuple[Loaded, Lines | None, str]]  # the last: how places in a subworkflow's definition begin


def _uses(definition: Definition) -> dict[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = {}
    for number, work in definition.works():
        field = _NAMED_BY[work.type]
        path: Path = ("dag", "nodes", number, *work.path, field)
        found.setdefault(work.type, {}).setdefault(getattr(work.config, field), path)
    return found


def loaded_of(definition: Definition) -> Loaded:
    canonical = definition.canonical()
    encoded = msgspec.json.encode(canonical, order="sorted")
    if len(encoded) > CANONICAL_BYTES_MAX:
        fix = f"keep it under {CANONICAL_BYTES_MAX:,}: move data to inputs or files"
        raise InvalidError(
            f"the definition is {len(encoded):,} bytes as JSON; {fix}",
            kind="definition_too_large",
            problems=(Problem("definition", f"{len(encoded):,} bytes", fix),),
        )
    limits.check_reserved(encoded, canonical, "definition")
    return Loaded(definition, canonical, definition.digest(), _uses(definition))


@functools.lru_cache(maxsize=64)
def _registered(canonical: str) -> Loaded:
    """A registered definition never changes, so it is read once; nobody changes what this returns."""
    return loaded_of(load_trusted(msgspec.json.decode(canonical)))


async def load(deps: Deps, org: str, source: Source, run: str = "") -> tuple[Loaded, Lines | None]:
    if source.ref:
        row = await lookup.find(deps, org, source.ref, run)
        return _registered(row.canonical), None
    if source.text is not None:
        text = source.text
        if len(text) < _INLINE_PARSE_CHARS:
            return _parse_text(text)
        return await asyncio.to_thread(_parse_text, text)
    if source.data is not None:
        return loaded_of(parse_dict(source.data)), None
    fix = "set `definition_text` (YAML or JSON) or `definition`; a submission may also name a registered `workflow`"
    raise InvalidError(f"no definition was given: {fix}", problems=(Problem("source", "not set", fix),))


def _parse_text(text: str) -> tuple[Loaded, Lines]:
    from agentflow_common.definition.yaml_text import load

    data, lines = load(text)
    return loaded_of(parse_dict(data, lines)), lines


def _places(parts: Parts, kind: str) -> dict[str, str]:
    """Where each name of that kind is used first. kind: `tool`, `function` or `llm` (prompts)."""
    found: dict[str, str] = {}
    for loaded, lines, prefix in parts:
        for name, path in loaded.uses.get(kind, {}).items():
            if name not in found:
                found[name] = prefix + unknown_names.dotted(path, lines)
    return found


async def _unknown_names(deps: Deps, parts: Parts) -> tuple[Problem, ...]:
    if not await deps.registry.known():
        return ()
    problems: tuple[Problem, ...] = ()
    for kind in ("tool", "function"):
        places = _places(parts, kind)
        missing = unknown_names.missing_names(places, await deps.registry.names(kind), kind)
        if missing:  # a worker may have come since the cache was read
            missing = unknown_names.missing_names(places, await deps.registry.names(kind, fresh=True), kind)
        problems += missing
    return problems


def _any(_place: Path) -> bool:
    return True


async def _unfit_arguments(deps: Deps, parts: Parts, trusts: Callable[[Path], bool] = _any) -> tuple[Problem, ...]:
    """What is wrong with the arguments of tools and functions that workers offer, at the places that are trusted."""
    wanted = {
        (kind, name) for loaded, _, _ in parts for kind in tool_arguments.NAMED_BY for name in loaded.uses.get(kind, ())
    }
    if not wanted:
        return ()
    known = await deps.registry.signatures(wanted)
    if all(deps.registry.fits(loaded.digest) for loaded, _, _ in parts):
        return ()
    if any(_arguments(parts, known, trusts)):  # a worker may have come since the cache was read
        known = await deps.registry.signatures(wanted, fresh=True)
    found = tuple(_arguments(parts, known, trusts))
    for loaded, _, _ in parts if not found and trusts is _any else ():
        deps.registry.remember_fitting(loaded.digest, known)
    return found


def _arguments(
    parts: Parts, signatures: Mapping[tuple[str, str], tool_arguments.Signature], trusts: Callable[[Path], bool]
) -> Iterator[Problem]:
    for loaded, lines, prefix in parts:
        for path, text, fix in tool_arguments.findings(loaded.definition, signatures):
            if trusts(path):
                yield Problem(prefix + tool_arguments.place_of(path, lines), text, fix)


async def _prompts(deps: Deps, call: Call, parts: Parts) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Pinned versions by reference, and a problem for each reference that names nothing."""
    places = _places(parts, "llm")
    if not places:
        return {}, ()
    reply = await call.ask(deps.nc, rpc.PROMPT_RESOLVE, rpc.ResolvePromptsRequest(org=call.org, refs=tuple(places)))
    if not reply.missing:
        return dict(reply.pinned), ()
    listed = await call.ask(deps.nc, rpc.PROMPT_LIST, rpc.ListPromptsRequest(org=call.org, limit=1000))
    names = [prompt.name for prompt in listed.prompts]
    return dict(reply.pinned), unknown_names.missing_prompts(places, reply.missing, names)


UNREGISTERED_TAG: Final = "agentflow.definition"  # on runs whose name and version are registered with other content
UNREGISTERED: Final = "unregistered"


def same_content(row: DefinitionRow, digest: str) -> bool:
    """True if the registered definition has this digest; read again, because an older version may have written it."""
    return row.digest == digest or _registered(row.canonical).digest == digest


async def is_registered(deps: Deps, org: str, name: str, version: int, canonical: dict[str, Any]) -> bool:
    """True if this very definition is registered under that name and version."""
    row = await deps.store.find_definition(org, name, version)
    if row is None:
        return False
    text = msgspec.json.encode(canonical, order="sorted").decode()
    return row.canonical == text or same_content(row, load_trusted(canonical).digest())


async def check_name(deps: Deps, call: Call, source: Source, checked: Checked, unregistered: bool) -> dict[str, str]:
    """The tags that mark a run whose definition is not the one that is registered under its name and version.

    AlreadyExistsError if there is such a one, and `unregistered` does not accept it.
    """
    if source.ref:
        return {}
    definition = checked.definition
    row = await deps.store.find_definition(call.org, definition.name, definition.version)
    if row is None or same_content(row, checked.digest):
        return {}
    if unregistered:
        return {UNREGISTERED_TAG: UNREGISTERED}
    raise await _version_taken(deps, call, definition, "or submit it as it is with --unregistered, which marks the run")


async def _version_taken(
    deps: Deps, call: Call, definition: Definition, otherwise: str, *, deleted: bool = False
) -> AlreadyExistsError:
    newest = await deps.store.newest_number(call.org, definition.name)
    stands = "was deleted, had" if deleted else "is registered with"
    fix = f"raise `version` to {newest + 1}, {otherwise}"
    return AlreadyExistsError(
        f"version {definition.version} of {definition.name!r} {stands} another content and can't change; {fix}",
        kind="version_taken",
        problems=(Problem("version", f"{definition.version} is taken", fix),),
    )


async def register(deps: Deps, call: Call, source: Source) -> tuple[Checked, bool]:
    """Stores the definition; False if this very one was there. AlreadyExistsError if its version holds another."""
    checked = await check(deps, call, source)
    definition = checked.definition
    text = msgspec.json.encode(checked.canonical, order="sorted").decode()
    row = DefinitionRow(name=definition.name, version=definition.version, digest=checked.digest, canonical=text)
    there = await deps.store.add_definition(call.org, row, deps.clock.now_ms(), call.identity.actor)
    if there is not None and not (there.digest and same_content(there, checked.digest)):
        raise await _version_taken(deps, call, definition, "and register again", deleted=not there.digest)
    return checked, there is None


async def problems_of(deps: Deps, call: Call, source: Source) -> tuple[Checked | None, tuple[Problem, ...]]:
    """For validation without storing: the definition, or what is wrong with it. Other errors are raised."""
    try:
        return await check(deps, call, source), ()
    except AgentFlowError as error:
        if error.code != "invalid_argument":
            raise
        return None, error.problems or (Problem("definition", error.message),)
