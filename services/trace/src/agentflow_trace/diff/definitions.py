"""Differences of what two runs were submitted with: definition, prompts, models. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from agentflow_common.definition.diff import ABSENT
from agentflow_common.definition.diff import diff as diff_definitions
from agentflow_common.rpc import DiffField, DiffPart
from agentflow_trace.diff.graph import with_names
from agentflow_trace.diff.records import RunRecord

PARTS_MAX: Final = 200
CHARS_MAX: Final = 200


def parts_of(a: RunRecord, b: RunRecord, nodes: Mapping[str, str]) -> tuple[DiffPart, ...]:
    """Returns the differences. nodes: the node of b for each node of a; a renamed one has no other differences."""
    found = [*_definition(a, b, nodes), *_prompts(a.prompts, b.prompts), *_models(a, b)]
    if len(found) > PARTS_MAX:
        more = DiffPart(kind="workflow", what="changed", name=f"{len(found) - PARTS_MAX + 1} more differences")
        found = [*found[: PARTS_MAX - 1], more]
    return tuple(found)


def _definition(a: RunRecord, b: RunRecord, nodes: Mapping[str, str]) -> Iterator[DiffPart]:
    for name, other in nodes.items():
        if name != other:
            yield DiffPart(kind="node", what="renamed", name=other, fields=(DiffField(path="id", old=name, new=other),))
    old, new = a.pinned.raw, b.pinned.raw
    if a.pinned is b.pinned or not old or not new:
        return
    names = dict(nodes)
    taken = set(names.values())
    for node in old["dag"]["nodes"]:  # a removed node may have the name of a renamed one
        if node["id"] not in names and node["id"] in taken:
            names[node["id"]] = f"{node['id']} (removed)"
    for change in diff_definitions(with_names(old, names), new):
        fields = tuple(
            DiffField(path=field.path, old=_text(field.old), new=_text(field.new)) for field in change.fields
        )
        yield DiffPart(kind=change.kind, what=change.what, name=change.name, fields=fields)


def _text(value: Any) -> str | None:
    if value is ABSENT:
        return None
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= CHARS_MAX else f"{text[: CHARS_MAX - 3]}..."


def _prompts(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[DiffPart]:
    for ref in dict.fromkeys([*old, *new]):
        before, after = old.get(ref), new.get(ref)
        if before != after:
            what = "added" if before is None else "removed" if after is None else "changed"
            yield DiffPart(kind="prompt", what=what, name=ref, fields=(DiffField(path="", old=before, new=after),))


def _models(a: RunRecord, b: RunRecord) -> Iterator[DiffPart]:
    """Yields the models that answered in one run only."""
    old, new = _used(a), _used(b)
    for name in old:
        if name not in new:
            yield DiffPart(kind="model", what="removed", name=name)
    for name in new:
        if name not in old:
            yield DiffPart(kind="model", what="added", name=name)


def _used(run: RunRecord) -> dict[str, None]:
    return {
        f"{attempt.provider}/{attempt.model}": None
        for step in run.steps.values()
        for attempt in step.attempts
        if attempt.model
    }
