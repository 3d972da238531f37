"""Registered definitions by reference; what is not there is answered with what is."""

from __future__ import annotations

import difflib

from agentflow_common.errors import NotFoundError
from agentflow_gateway.definitions import labels
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.store.runs import DefinitionRow


async def find(deps: Deps, org: str, ref: str, run: str = "") -> DefinitionRow:
    """What a reference means for this run. NotFoundError suggests what there is."""
    wanted = labels.parse_ref(ref)
    version = wanted.version
    if wanted.label:
        label = await deps.versions.find_label(org, wanted.name, wanted.label)
        if label is None:
            raise await _no_such_label(deps, org, wanted)
        version = labels.version_for(label, run)
    row = await deps.store.find_definition(org, wanted.name, version)
    if row is None:
        raise await no_such_version(deps, org, wanted.name, version)
    return row


async def _no_such_label(deps: Deps, org: str, wanted: labels.WorkflowRef) -> NotFoundError:
    if not await deps.store.definition_versions(org, wanted.name):
        return await unknown_workflow(deps, org, wanted.name)
    known = ", ".join(row.label for row in await deps.versions.labels(org, wanted.name)) or "none yet"
    return NotFoundError(
        f"workflow {wanted.name!r} has no label {wanted.label!r}; it has {known} "
        f"(set it: agentctl workflow label {wanted.name} VERSION {wanted.label})",
        kind="unknown_label",
    )


async def no_such_version(deps: Deps, org: str, name: str, version: int | None) -> NotFoundError:
    known = await deps.store.definition_versions(org, name)
    if not known:
        return await unknown_workflow(deps, org, name)
    text = ", ".join(map(str, known))
    return NotFoundError(f"workflow {name!r} has no version {version}; it has {text}", kind="unknown_version")


async def unknown_workflow(deps: Deps, org: str, name: str) -> NotFoundError:
    close = difflib.get_close_matches(name, await deps.store.definition_names(org), n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "register it first: agentctl workflow register FILE"
    return NotFoundError(f"there is no workflow {name!r}; {hint}", kind="unknown_workflow")
