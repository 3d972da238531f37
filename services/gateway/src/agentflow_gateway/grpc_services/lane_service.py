"""LaneService and VersionService: messages to plain data, to the handlers, and back."""

from __future__ import annotations

from typing import Any

from agentflow.v1 import control_pb2 as pb
from agentflow.v1 import control_pb2_grpc
from agentflow_common.definition.diff import ABSENT
from agentflow_common.errors import InvalidError, Problem
from agentflow_gateway.api import call_context, convert, pages
from agentflow_gateway.definitions import deletion, versions
from agentflow_gateway.definitions.check import Source
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.operations import lanes
from agentflow_gateway.runs import compare
from agentflow_gateway.store.versions import LabelRow


class LaneService(control_pb2_grpc.LaneServiceServicer):
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def ListLanes(self, request: Any, _context: Any) -> Any:  # noqa: N802
        limit = pages.page_size(request.page_size, default=lanes.PAGE_SIZE)
        place = pages.read(request.page_token, pages.LanePlace)
        if place is not None:
            pages.check_filters((place.kind,), ("lanes",))
        after = (place.section, place.name) if place is not None else None
        found, last = await lanes.listed(self._deps, after, limit)
        token = pages.token(pages.LanePlace("lanes", *last)) if last is not None else ""
        return pb.ListLanesResponse(lanes=[_lane(lane) for lane in found], next_page_token=token)

    async def GetLane(self, request: Any, _context: Any) -> Any:  # noqa: N802
        return pb.GetLaneResponse(lane=_lane(await lanes.known(self._deps, request.name)))

    async def SetLane(self, request: Any, _context: Any) -> Any:  # noqa: N802
        wanted = lanes.Wanted(
            limit=request.limit if request.HasField("limit") else None,
            rate_per_s=request.rate_per_s if request.HasField("rate_per_s") else None,
            paused=request.paused if request.HasField("paused") else None,
            reason=request.reason,
        )
        lane = await lanes.set_lane(self._deps, call_context.current(), request.name, wanted)
        return pb.SetLaneResponse(lane=_lane(lane))


def _lane(lane: lanes.Lane) -> Any:
    setting, pool, keyed = lane.setting, lane.pool, lane.keyed
    is_pool = pool is not None and keyed is None
    return pb.Lane(
        name=lane.name,
        limit=setting.limit or (keyed.limit if keyed is not None else None),
        rate_per_s=None if is_pool else setting.rate_per_s or (keyed.rate_per_s if keyed is not None else None),
        paused=setting.paused,
        reason=setting.reason,
        by=setting.by,
        at=setting.at,
        keyed=lane.is_keyed,
        active=(pool.active if pool is not None else 0) + (len(keyed.holders) if keyed is not None else 0),
        queued=(pool.queued if pool is not None else 0) + (len(keyed.queue) if keyed is not None else 0),
        workers=pool.asking if pool is not None else 0,
        holders=lanes.holders(lane, call_context.current().org),
    )


class VersionService(control_pb2_grpc.VersionServiceServicer):
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def ListVersions(self, request: Any, _context: Any) -> Any:  # noqa: N802
        limit = pages.page_size(request.page_size, default=pages.PAGE_SIZE_MAX)
        filters = (request.workflow,)
        after = pages.after_number("versions", request.page_token, filters)
        found = await versions.versions(self._deps, call_context.current(), request.workflow, after, limit + 1)
        shown, token = pages.cut("versions", found.versions, limit, lambda row: str(row.version), filters)
        return pb.ListVersionsResponse(
            next_page_token=token,
            versions=[
                pb.WorkflowVersion(
                    version=row.version,
                    digest=row.digest,
                    created_at=row.created_at,
                    created_by=row.created_by,
                    labels=found.labels.get(row.version, ()),
                )
                for row in shown
            ],
            paused=found.paused is not None,
            paused_reason=found.paused or "",
        )

    async def SetLabel(self, request: Any, _context: Any) -> Any:  # noqa: N802
        row, changed = await versions.set_label(
            self._deps, call_context.current(), request.workflow, request.label, request.version, request.percent,
            request.remove,
        )  # fmt: skip
        row = row or LabelRow(label=request.label, version=0)
        return pb.SetLabelResponse(
            version=row.version,
            canary_version=row.canary_version or 0,
            canary_percent=row.canary_percent,
            changed=changed,
        )

    async def DeleteWorkflow(self, request: Any, _context: Any) -> Any:  # noqa: N802
        left = await deletion.delete(self._deps, call_context.current(), request.workflow, request.version)
        return pb.DeleteWorkflowResponse(versions=left)

    async def DiffWorkflows(self, request: Any, _context: Any) -> Any:  # noqa: N802
        old, new = _source(request.old, "old"), _source(request.new, "new")
        found, old_name, new_name = await compare.changes(self._deps, call_context.current(), old, new)
        response = pb.DiffWorkflowsResponse(old_name=old_name, new_name=new_name)
        for change in found:
            message = response.changes.add(kind=change.kind, what=change.what, name=change.name)
            for field in change.fields:
                item = message.fields.add(path=field.path)
                if field.old is not ABSENT:
                    convert.set_value(item.old, field.old)
                if field.new is not ABSENT:
                    convert.set_value(item.new, field.new)
        return response


def _source(message: Any, place: str) -> Source | str:
    kind = message.WhichOneof("source")
    if kind == "run_id":
        return str(message.run_id)
    if kind == "definition_text":
        return Source(text=message.definition_text)
    if kind == "workflow":
        return Source(ref=message.workflow)
    fix = "give a workflow, a run or a definition"
    raise InvalidError(f"`{place}` is not given", problems=(Problem(place, "not given", fix),))
