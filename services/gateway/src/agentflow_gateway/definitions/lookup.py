"""Finds registered definitions by reference. An error for an unknown one names what there is."""

from __future__ import annotations

from agentflow_common.errors import NotFoundError
from agentflow_common.hints import did_you_mean
from agentflow_gateway.api.call import Call
from agentflow_gateway.definitions import labels
from agentflow_gateway.store.definitions import DefinitionRow


async def find(call: Call, ref: str, run: str = "") -> DefinitionRow:
    """Returns the version that a reference means for this run. NotFoundError suggests what there is."""
    workflow = labels.parse_ref(ref)
    version = workflow.version
    if workflow.label:
        label = await call.store.labels.find(call.org, workflow.name, workflow.label)
        if label is None:
            raise await _no_such_label(call, workflow)
        version = labels.version_for(label, run)
    row = await call.store.definitions.find(call.org, workflow.name, version)
    if row is None:
        raise await no_such_version(call, workflow.name, version)
    return row


async def _no_such_label(call: Call, workflow: labels.WorkflowRef) -> NotFoundError:
    name = workflow.name
    if not await call.store.definitions.versions(call.org, name, limit=1):
        return await unknown_workflow(call, name)
    listed = ", ".join(row.label for row in await call.store.labels.list(call.org, name)) or "none yet"
    return NotFoundError(
        f"workflow {name!r} has no label {workflow.label!r}; it has {listed} "
        f"(set it: agentctl workflow label {name} VERSION {workflow.label})",
        kind="unknown_label",
    )


async def no_such_version(call: Call, name: str, version: int | None) -> NotFoundError:
    rows = await call.store.definitions.versions(call.org, name)
    if not rows:
        return await unknown_workflow(call, name)
    listed = ", ".join(str(row.version) for row in rows)
    return NotFoundError(f"workflow {name!r} has no version {version}; it has {listed}", kind="unknown_version")


async def unknown_workflow(call: Call, name: str) -> NotFoundError:
    hint = await hint_for(call, name, "register it first: agentctl workflow register FILE")
    return NotFoundError(f"there is no workflow {name!r}; {hint}", kind="unknown_workflow")


async def hint_for(call: Call, name: str, otherwise: str = "") -> str:
    """Returns `did you mean ...?` with the registered workflows whose name is close, or `otherwise`."""
    return did_you_mean(name, await call.store.definitions.names(call.org), otherwise, most=3, cutoff=0.5)
