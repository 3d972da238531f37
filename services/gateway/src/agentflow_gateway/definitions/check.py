"""Checks definitions: parses them, looks up their prompts, tools and subworkflows. Stores only what passed."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from agentflow_common import rpc
from agentflow_common.definition.checks import tool_arguments
from agentflow_common.definition.model import Definition, load_trusted
from agentflow_common.definition.nodes.calls import NAMED_BY, called_name
from agentflow_common.definition.parse import InvalidDefinitionError, parse_dict
from agentflow_common.errors import AgentFlowError, AlreadyExistsError, InvalidError, Problem
from agentflow_gateway import limits
from agentflow_gateway.api.call import Call
from agentflow_gateway.definitions import completion, lookup, pin_subworkflows, pinned_models, unknown_names
from agentflow_gateway.store.definitions import DefinitionRow
from agentflow_gateway.worker_registry import Registry

CANONICAL_BYTES_MAX: Final = 2 * 1024 * 1024  # it is pinned in `run.submitted`; the server takes messages of 8 MiB
_INLINE_PARSE_CHARS: Final = 32 * 1024  # longer texts are parsed on a thread, so that other calls go on
_PARSED_MAX: Final = 256  # definitions that are kept as they were read
UNREGISTERED_TAG: Final = "agentflow.definition"  # on runs whose name and version are registered with other content
UNREGISTERED: Final = "unregistered"

Path = tuple[str | int, ...]
Lines = Mapping[Path, int]


class Source(msgspec.Struct, frozen=True):
    """A definition as the client gave it: one of the three is set."""

    ref: str = ""  # `name`, `name@version` or `name@label`
    text: str | None = None
    data: dict[str, Any] | None = None


class Checked(msgspec.Struct, frozen=True):
    """A definition that may run."""

    definition: Definition
    canonical: dict[str, Any]
    digest: str
    identity: str  # what the client asked for, for the submission digest
    pinned: dict[str, str]  # prompts
    definitions: dict[str, dict[str, Any]] = {}  # those of its subworkflows, by reference
    warnings: tuple[Problem, ...] = ()  # unknown names that `allow_unknown` accepts


class Loaded(msgspec.Struct, frozen=True):
    definition: Definition
    canonical: dict[str, Any]
    digest: str
    uses: dict[str, dict[str, Path]]  # by kind of work: each name that is called, with the place of its first use
    models: dict[str, Path]  # those that are pinned, likewise


class Part(msgspec.Struct, frozen=True):
    """A definition whose names are looked up: the client's own, or a subworkflow's."""

    loaded: Loaded
    lines: Lines | None = None
    prefix: str = ""  # how places in a subworkflow's definition begin


async def check(call: Call, source: Source, run: str = "", *, allow_unknown: bool = False) -> Checked:
    """Returns the definition if it may run. InvalidError has every problem, with its place and fix.

    run: the run that the definition is for, which decides where a label has a canary.
    allow_unknown: tools and functions that no worker offers, and models without a known price, are warnings.
    """
    try:
        loaded, lines = await load_completed(call, source, run)
    except InvalidDefinitionError as error:
        raise await _with_unknown_names(call, error, source, allow_unknown) from None
    identity = f"ref:{source.ref}" if source.ref else ""
    return await _check_loaded(call, loaded, lines, identity, run, allow_unknown)


async def _with_unknown_names(
    call: Call, error: InvalidDefinitionError, source: Source, allow_unknown: bool
) -> InvalidError:
    """Returns the error with problems of unknown tools, functions and prompts too, so that one answer has them all."""
    if error.readable is None:
        return error
    lines = None
    if source.text is not None:
        from agentflow_common.definition.yaml_text import load as load_text

        _, lines = load_text(source.text)
    parts = [Part(loaded_of(error.readable), lines)]
    _, missing = await resolve_prompts(call, _places(parts, "llm"))
    trusts = error.repair.trusts if error.repair is not None else _any
    registry = call.deps.registry
    unknown = () if allow_unknown else await _unknown_names(call, parts)
    unknown += await _unfit_arguments(registry, parts, trusts)
    return InvalidError(error.message, kind=error.kind, problems=(*error.problems, *missing, *unknown))


async def _check_loaded(
    call: Call, loaded: Loaded, lines: Lines | None, identity: str, run: str, allow_unknown: bool
) -> Checked:
    definition = loaded.definition
    nested: dict[str, Loaded] = {}

    async def find(ref: str) -> pin_subworkflows.Registered:
        row = await lookup.find(call, ref, run)
        there = nested[ref] = _registered(row.canonical)
        return pin_subworkflows.Registered(there.definition, there.canonical, there.digest)

    definitions: dict[str, dict[str, Any]] = {}
    unfit: tuple[Problem, ...] = ()
    if "subworkflow" in loaded.uses:
        depth_max = call.deps.settings.subworkflow_depth_max
        subworkflows = await pin_subworkflows.pin(definition, loaded.digest, find, depth_max)
        definitions, unfit = subworkflows.definitions, subworkflows.problems
    parts = [Part(loaded, lines)]
    parts += [Part(item, None, f"{pin_subworkflows.title(item.definition)}: ") for item in nested.values()]
    registry = call.deps.registry
    unknown, warnings = await _unknown_names(call, parts), ()
    if allow_unknown:
        unknown, warnings = (), unknown
    unknown += await _unfit_arguments(registry, parts)
    pinned, missing = await resolve_prompts(call, _places(parts, "llm"))
    if problems := (*missing, *unknown, *unfit):
        problems = unknown_names.by_lines(problems, lines)
        raise InvalidError.of(problems, "the workflow definition is not valid", kind="invalid_definition")
    identity = identity or f"def:{loaded.digest}"
    return Checked(definition, loaded.canonical, loaded.digest, identity, pinned, definitions, warnings)


def _uses(definition: Definition) -> dict[str, dict[str, Path]]:
    uses: dict[str, dict[str, Path]] = {}
    for number, work in definition.works():
        if name := called_name(work):
            path: Path = ("dag", "nodes", number, *work.path, NAMED_BY[work.type])
            uses.setdefault(work.type, {}).setdefault(name, path)
    return uses


def loaded_of(definition: Definition) -> Loaded:
    canonical = definition.canonical()
    encoded = msgspec.json.encode(canonical, order="sorted")
    if len(encoded) > CANONICAL_BYTES_MAX:
        raise InvalidError.at(
            "definition",
            f"the definition has {len(encoded):,} bytes as JSON, the limit is {CANONICAL_BYTES_MAX:,}",
            "move data to inputs or files",
            kind="definition_too_large",
        )
    limits.check_reserved(encoded, canonical, "definition")
    return Loaded(definition, canonical, definition.digest(), _uses(definition), pinned_models.used(definition))


@functools.lru_cache(maxsize=_PARSED_MAX)
def _registered(canonical: str) -> Loaded:
    """Reads a registered definition, once: it never changes. Callers must not change the result."""
    return loaded_of(load_trusted(msgspec.json.decode(canonical)))


async def load(call: Call, source: Source, run: str = "") -> tuple[Loaded, Lines | None]:
    """Returns (the definition, for a text the lines of its parts). Only its own mistakes are found here."""
    if source.ref:
        row = await lookup.find(call, source.ref, run)
        return _registered(row.canonical), None
    if source.text is not None:
        text = source.text
        if len(text) < _INLINE_PARSE_CHARS:
            return _parse_short_text(text)
        return await asyncio.to_thread(_parse_text, text)
    if source.data is not None:
        encoded = msgspec.json.encode(source.data)
        return _parse_json(encoded) if len(encoded) < _INLINE_PARSE_CHARS else _parse(source.data), None
    fix = "set `definition_text` (YAML or JSON) or `definition`; a submission may also name a registered `workflow`"
    raise InvalidError.at("source", "no definition was given", fix)


def _parse(data: dict[str, Any]) -> Loaded:
    return loaded_of(parse_dict(data))


@functools.lru_cache(maxsize=_PARSED_MAX)
def _parse_json(encoded: bytes) -> Loaded:
    return _parse(msgspec.json.decode(encoded))


async def load_completed(call: Call, source: Source, run: str = "") -> tuple[Loaded, Lines | None]:
    """Returns what `load` does, with the arguments that the author left to the edges. See edge_arguments.py."""
    loaded, lines = await load(call, source, run)
    if source.ref:  # it was completed when it was registered
        return loaded, lines
    definition = await completion.complete(call, loaded.definition, lines)
    return (loaded if definition is loaded.definition else loaded_of(definition)), lines


def _parse_text(text: str) -> tuple[Loaded, Lines]:
    from agentflow_common.definition.yaml_text import load

    data, lines = load(text)
    return loaded_of(parse_dict(data, lines)), lines


_parse_short_text: Final = functools.lru_cache(maxsize=_PARSED_MAX)(_parse_text)


def _places(parts: list[Part], kind: str) -> dict[str, str]:
    """Returns for each name of that kind the place of its first use. kind: `tool`, `function` or `llm` (prompts)."""
    return _first_uses(parts, [part.loaded.uses.get(kind, {}) for part in parts])


def _first_uses(parts: list[Part], paths: list[dict[str, Path]]) -> dict[str, str]:
    places: dict[str, str] = {}
    for part, used in zip(parts, paths, strict=True):
        for name, path in used.items():
            if name not in places:
                places[name] = part.prefix + unknown_names.dotted(path, part.lines)
    return places


async def _unknown_names(call: Call, parts: list[Part]) -> tuple[Problem, ...]:
    """Returns problems of tools and functions that no worker offers, and of models without a known price."""
    places = _first_uses(parts, [part.loaded.models for part in parts])
    return await _not_offered(call.deps.registry, parts) + await pinned_models.problems(call, places)


async def _not_offered(registry: Registry, parts: list[Part]) -> tuple[Problem, ...]:
    if not await registry.known():
        return ()
    problems: tuple[Problem, ...] = ()
    for kind in ("tool", "function"):
        known = await registry.names(kind)
        if all(part.loaded.uses.get(kind, {}).keys() <= known for part in parts):
            continue
        places = _places(parts, kind)
        missing = unknown_names.missing_names(places, known, kind)
        if missing:  # a worker may have come since the cache was read
            missing = unknown_names.missing_names(places, await registry.names(kind, fresh=True), kind)
        problems += missing
    return problems


def _any(_place: Path) -> bool:
    return True


async def _unfit_arguments(
    registry: Registry, parts: list[Part], trusts: Callable[[Path], bool] = _any
) -> tuple[Problem, ...]:
    """Returns problems of arguments of tools and functions that workers offer, at the places that are trusted."""
    called = {
        (kind, name) for part in parts for kind in tool_arguments.CHECKED for name in part.loaded.uses.get(kind, ())
    }
    if not called:
        return ()
    signatures = await registry.signatures(called)
    if all(registry.fits(part.loaded.digest) for part in parts):
        return ()
    if any(_arguments(parts, signatures, trusts)):  # a worker may have come since the cache was read
        signatures = await registry.signatures(called, fresh=True)
    problems = tuple(_arguments(parts, signatures, trusts))
    for part in parts if not problems and trusts is _any else ():
        registry.remember_fitting(part.loaded.digest, signatures)
    return problems


def _arguments(
    parts: list[Part], signatures: Mapping[tuple[str, str], tool_arguments.Signature], trusts: Callable[[Path], bool]
) -> Iterator[Problem]:
    for part in parts:
        for path, text, fix in tool_arguments.findings(part.loaded.definition, signatures):
            if trusts(path):
                yield Problem(part.prefix + tool_arguments.place_of(path, part.lines), text, fix)


async def resolve_prompts(call: Call, places: Mapping[str, str]) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Returns (pinned versions by reference, a problem for each reference to a prompt that does not exist).

    places: for each reference, its place in the request.
    """
    if not places:
        return {}, ()
    reply = await call.ask(rpc.PROMPT_RESOLVE, rpc.ResolvePromptsRequest(org=call.org, refs=tuple(places)))
    if not reply.missing:
        return dict(reply.pinned), ()
    listed = await call.ask(rpc.PROMPT_LIST, rpc.ListPromptsRequest(org=call.org, limit=1000))
    names = [prompt.name for prompt in listed.prompts]
    return dict(reply.pinned), unknown_names.missing_prompts(places, reply.missing, names)


def _same_content(row: DefinitionRow, digest: str) -> bool:
    """True if the registered definition has this digest. It is read again: an older version may have written it."""
    return row.digest == digest or _registered(row.canonical).digest == digest


def registered_text(canonical: dict[str, Any]) -> str:
    """Returns a definition as the table of registered ones has it."""
    return msgspec.json.encode(canonical, order="sorted").decode()


async def is_registered(call: Call, name: str, version: int, canonical: dict[str, Any]) -> bool:
    """True if this very definition is registered under that name and version."""
    row = await call.store.definitions.find(call.org, name, version)
    if row is None:
        return False
    text = registered_text(canonical)
    return row.canonical == text or _same_content(row, load_trusted(canonical).digest())


async def check_name(call: Call, source: Source, checked: Checked, unregistered: bool) -> dict[str, str]:
    """Returns the tags that mark a run if another definition is registered under its definition's name and version.

    AlreadyExistsError if `unregistered` does not accept that.
    """
    if source.ref:
        return {}
    definition = checked.definition
    row = await call.store.definitions.find(call.org, definition.name, definition.version)
    if row is None or _same_content(row, checked.digest):
        return {}
    if unregistered:
        return {UNREGISTERED_TAG: UNREGISTERED}
    raise await _version_taken(call, definition, "or submit it as it is with --unregistered, which marks the run")


async def _version_taken(
    call: Call, definition: Definition, otherwise: str, *, deleted: bool = False
) -> AlreadyExistsError:
    newest = await call.store.definitions.newest_number(call.org, definition.name)
    state = "was deleted, had" if deleted else "is registered with"
    return AlreadyExistsError.at(
        "version",
        f"version {definition.version} of {definition.name!r} {state} another content and can't change",
        f"raise `version` to {newest + 1}, {otherwise}",
        kind="version_taken",
    )


async def register(call: Call, source: Source, *, allow_unknown: bool = False) -> tuple[Checked, bool]:
    """Stores the definition. Returns False if this very one is stored.

    AlreadyExistsError if its version has another content.
    """
    checked = await check(call, source, allow_unknown=allow_unknown)
    definition = checked.definition
    text = registered_text(checked.canonical)
    row = DefinitionRow(name=definition.name, version=definition.version, digest=checked.digest, canonical=text)
    there = await call.store.definitions.add(call.org, row, call.now_ms(), call.identity.actor, source.text)
    if there is not None and not (there.digest and _same_content(there, checked.digest)):
        raise await _version_taken(call, definition, "and register again", deleted=not there.digest)
    return checked, there is None


async def problems_of(
    call: Call, source: Source, *, allow_unknown: bool = False
) -> tuple[Checked | None, tuple[Problem, ...]]:
    """Returns the definition, or what is wrong with it. Nothing is stored; other errors are raised."""
    try:
        return await check(call, source, allow_unknown=allow_unknown), ()
    except AgentFlowError as error:
        if error.code != "invalid_argument":
            raise
        return None, error.problems or (Problem("definition", error.message),)
