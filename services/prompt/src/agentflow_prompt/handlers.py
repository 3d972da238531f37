"""The verbs of the prompt service: decode, load, decide, append."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, TypeVar

from agentflow_common import ids, rpc
from agentflow_common.clock import Clock
from agentflow_common.errors import InvalidError
from agentflow_common.metrics.threads import MeasuredThreads
from agentflow_common.rpc import PromptVersion
from agentflow_common.rpc.bus import Route
from agentflow_prompt import builtins, machine
from agentflow_prompt.machine import Compiled, Ref
from agentflow_prompt.store import Store

VERSIONS_MAX: Final = 1024  # cached immutable versions: at most 64 KiB of template each
COMPILED_MAX: Final = 256
REFS_MAX: Final = 1000
LIST_MAX: Final = 1001  # a page, and one more, which shows whether there is another page
RENDER_THREADS: Final = 2

Value = TypeVar("Value")


class Lru(OrderedDict[Hashable, Value]):
    """Keeps the `size` entries that were used last. It is safe for threads."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> Value | None:
        with self._lock:
            if key not in self:
                return None
            self.move_to_end(key)
            return self[key]

    def put(self, key: Hashable, value: Value) -> Value:
        with self._lock:
            self[key] = value
            while len(self) > self._size:
                self.popitem(last=False)
        return value


class Handlers:
    """Answers the questions of the prompt service. There is one in each process.

    Templates are rendered on separate threads, so that their two seconds never stop the service.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._versions: Lru[PromptVersion] = Lru(VERSIONS_MAX)
        self._compiled: Lru[Compiled] = Lru(COMPILED_MAX)
        self._threads = MeasuredThreads("render", RENDER_THREADS)

    def routes(self) -> list[Route]:
        return [
            (rpc.PROMPT_CREATE, self.create),
            (rpc.PROMPT_GET, self.get),
            (rpc.PROMPT_LIST, self.list),
            (rpc.PROMPT_VERSIONS, self.versions),
            (rpc.PROMPT_LABEL, self.label),
            (rpc.PROMPT_RESOLVE, self.resolve),
            (rpc.PROMPT_RENDER, self.render),
        ]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def create(self, request: rpc.CreatePromptRequest) -> PromptVersion:
        checked = await self._off_loop(lambda: machine.check_new(request))
        version = await self._store.create(checked, machine.sha256(checked), self._clock.now_ms())
        if version is None:  # only a built-in prompt may be declined
            raise AssertionError("a new version was declined")
        return version

    async def get(self, request: rpc.GetPromptRequest) -> PromptVersion:
        ids.check_token(request.org, "org")
        return await self._find(request.org, machine.parse_ref(request.ref))

    async def list(self, request: rpc.ListPromptsRequest) -> rpc.ListPromptsReply:
        ids.check_token(request.org, "org")
        limit = min(max(request.limit, 1), LIST_MAX)
        if request.name_prefix:
            ids.check_token(request.name_prefix, "name_prefix")
        prompts = await self._store.latest(request.org, request.name_prefix, limit, request.after)
        own = {prompt.name for prompt in prompts}
        # a built-in prompt that the org has not used yet is listed as version 1, which it becomes at its first use
        unused = [n for n in builtins.names() - own if n.startswith(request.name_prefix) and n > request.after]
        prompts = [*prompts, *await self._off_loop(lambda: [_unused(name) for name in unused])]
        return rpc.ListPromptsReply(prompts=tuple(sorted(prompts, key=lambda prompt: prompt.name)[:limit]))

    async def versions(self, request: rpc.ListPromptVersionsRequest) -> rpc.ListPromptVersionsReply:
        ids.check_token(request.org, "org")
        ref = machine.parse_name(request.name)
        await self._find(request.org, ref)
        limit = min(max(request.limit, 1), LIST_MAX)
        rows = await self._store.versions(request.org, ref.name, request.before, limit)
        return rpc.ListPromptVersionsReply(versions=tuple(rows))

    async def label(self, request: rpc.SetPromptLabelRequest) -> rpc.SetPromptLabelReply:
        ids.check_token(request.org, "org")
        ref = machine.parse_name(request.name)
        machine.check_label(request.label)
        latest = (await self._find(request.org, ref)).version
        if not request.version:
            gone = await self._store.remove_label(request.org, ref.name, request.label)
            return rpc.SetPromptLabelReply(version=0, changed=gone)
        if not 0 < request.version <= latest:
            raise machine.not_found(Ref(ref.name, version=request.version), latest)
        changed = await self._store.set_label(
            request.org, ref.name, request.label, request.version, machine.LABELS_OF_PROMPT_MAX
        )
        if changed is None:
            text = f"the prompt already has {machine.LABELS_OF_PROMPT_MAX} labels, the limit"
            raise InvalidError.at("label", text, "remove one: agentctl prompt label NAME 0 LABEL --remove")
        return rpc.SetPromptLabelReply(version=request.version, changed=changed)

    async def resolve(self, request: rpc.ResolvePromptsRequest) -> rpc.ResolvePromptsReply:
        ids.check_token(request.org, "org")
        if len(request.refs) > REFS_MAX:
            fix = f"ask for at most {REFS_MAX:,} at once"
            raise InvalidError.at("refs", f"{len(request.refs):,} prompt references are too many", fix)
        pinned: dict[str, str] = {}
        required: dict[str, tuple[str, ...]] = {}
        missing: list[str] = []
        for ref in dict.fromkeys(request.refs):
            version = await self._lookup(request.org, ref)
            if version is None:
                missing.append(ref)
            else:
                pinned[ref] = f"{version.name}@{version.version}"
                if request.with_required:
                    required[ref] = await self._off_loop(functools.partial(self._required, version))
        return rpc.ResolvePromptsReply(pinned=pinned, missing=tuple(missing), required=required)

    async def render(self, request: rpc.RenderRequest) -> rpc.RenderReply:
        ids.check_token(request.org, "org")
        ref = machine.parse_ref(request.ref)
        version = self._versions.find((request.org, ref)) if ref.version is not None else None
        if version is None:
            version = await self._find(request.org, ref)
            if ref.version is not None:  # a pinned version never changes; a label or `latest` may move
                self._versions.put((request.org, ref), version)
        found = version
        return await self._off_loop(lambda: self._render(found, request))

    def _render(self, version: PromptVersion, request: rpc.RenderRequest) -> rpc.RenderReply:
        ref = f"{version.name}@{version.version}"
        compiled = self._compile(version)
        machine.check_inputs(ref, request.inputs, version.inputs_schema, compiled.required)
        system = machine.render(ref, "system", compiled.system, request.inputs) if compiled.system else ""
        return rpc.RenderReply(
            prompt=ref,
            system=system,
            text=machine.render(ref, "template", compiled.text, request.inputs),
            task=version.task,
            max_output_tokens=version.max_output_tokens,
            temperature=version.temperature,
        )

    def _compile(self, version: PromptVersion) -> Compiled:
        compiled = self._compiled.find(version.sha256)
        if compiled is not None:
            return compiled
        return self._compiled.put(version.sha256, machine.compile_prompt(version.template, version.system))

    def _required(self, version: PromptVersion) -> tuple[str, ...]:
        """Returns the inputs that a version can't do without: by its schema, or by its template."""
        if version.inputs_schema:
            return tuple(version.inputs_schema.get("required", ()))
        return tuple(sorted(self._compile(version).required))

    async def _lookup(self, org: str, ref: str) -> PromptVersion | None:
        try:
            parsed = machine.parse_ref(ref)
        except InvalidError:
            return None
        version, _ = await self._find_or_none(org, parsed)
        return version

    async def _find(self, org: str, ref: Ref) -> PromptVersion:
        version, latest = await self._find_or_none(org, ref)
        if version is None:
            raise machine.not_found(ref, latest)
        return version

    async def _find_or_none(self, org: str, ref: Ref) -> tuple[PromptVersion | None, int]:
        """Returns the stored version and the latest number.

        Stores a built-in prompt at its first use.
        """
        version, latest = await self._store.find(org, ref)
        if latest == 0 and ref.name in builtins.names():
            request = machine.check_new(builtins.load(org, ref.name))
            await self._store.create(request, machine.sha256(request), self._clock.now_ms(), only_first=True)
            version, latest = await self._store.find(org, ref)
        return version, latest

    async def _off_loop(self, work: Callable[[], Value]) -> Value:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


@functools.cache
def _unused(name: str) -> PromptVersion:
    """Returns a built-in prompt as its version 1, which is the same for every org."""
    return machine.version_of(machine.check_new(builtins.load("default", name)), 1, 0)
