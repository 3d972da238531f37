"""VersionService: versions and labels of registered workflows, and the difference between two definitions."""

from __future__ import annotations

from typing import Any

from agentflow.v1 import control_pb2 as pb
from agentflow_common.definition.diff import ABSENT
from agentflow_common.errors import InvalidError
from agentflow_gateway.api import convert, pages
from agentflow_gateway.api.call import Call
from agentflow_gateway.definitions import deletion, registered, versions
from agentflow_gateway.definitions.check import Source
from agentflow_gateway.runs import compare


class VersionService:
    async def ListWorkflows(self, request: Any, call: Call) -> Any:
        page = pages.Page(request, "workflows", request.name_prefix, default=100)
        shown, token = await registered.listed(call, request.name_prefix, page)
        return pb.ListWorkflowsResponse(workflows=[_registered(item) for item in shown], next_page_token=token)

    async def GetWorkflow(self, request: Any, call: Call) -> Any:
        found = await registered.find(call, request.workflow)
        response = pb.GetWorkflowResponse(workflow=_registered(found.shown), definition_text=found.text)
        convert.set_struct(response.definition, found.definition)
        return response

    async def ListVersions(self, request: Any, call: Call) -> Any:
        page = pages.Page(request, "versions", request.workflow, default=pages.PAGE_SIZE_MAX)
        before = page.after.number if page.after is not None else None
        listed = await versions.find(call, request.workflow, before, page.limit + 1)
        shown, token = page.cut(listed.versions, lambda row: (row.version, ""))
        return pb.ListVersionsResponse(
            next_page_token=token,
            versions=[
                convert.message_of(pb.WorkflowVersion, row, labels=listed.labels.get(row.version, ())) for row in shown
            ],
            paused=listed.paused is not None,
            paused_reason=listed.paused or "",
            paused_until=listed.paused_until,
        )

    async def SetLabel(self, request: Any, call: Call) -> Any:
        row, changed = await versions.set_label(
            call,
            request.workflow,
            request.label,
            version=request.version,
            percent=request.percent,
            remove=request.remove,
        )
        if row is None:
            return pb.SetLabelResponse(changed=changed)
        return pb.SetLabelResponse(
            version=row.version,
            canary_version=row.canary_version or 0,
            canary_percent=row.canary_percent,
            changed=changed,
        )

    async def DeleteWorkflow(self, request: Any, call: Call) -> Any:
        return pb.DeleteWorkflowResponse(versions=await deletion.delete(call, request.workflow, request.version))

    async def DiffWorkflows(self, request: Any, call: Call) -> Any:
        old, new = _source(request.old, "old"), _source(request.new, "new")
        changes, old_name, new_name = await compare.changes(call, old, new)
        response = pb.DiffWorkflowsResponse(old_name=old_name, new_name=new_name)
        for change in changes:
            message = response.changes.add(kind=change.kind, what=change.what, name=change.name)
            for field in change.fields:
                item = message.fields.add(path=field.path)
                if field.old is not ABSENT:
                    convert.set_value(item.old, field.old)
                if field.new is not ABSENT:
                    convert.set_value(item.new, field.new)
        return response


def _registered(item: registered.Shown) -> Any:
    marks = [convert.message_of(pb.WorkflowLabel, row, canary_version=row.canary_version or 0) for row in item.labels]
    return convert.message_of(
        pb.RegisteredWorkflow,
        item.row,
        labels=marks,
        paused=item.pause is not None,
        paused_until=item.pause.paused_until if item.pause is not None else 0,
    )


def _source(message: Any, place: str) -> Source | str:
    kind = message.WhichOneof("source")
    if kind == "run_id":
        return str(message.run_id)
    if kind == "definition_text":
        return Source(text=message.definition_text)
    if kind == "workflow":
        return Source(ref=message.workflow)
    raise InvalidError.at(place, f"`{place}` is not given", "give a workflow, a run or a definition")
