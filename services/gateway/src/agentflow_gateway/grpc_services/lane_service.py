"""LaneService: worker pools and keyed lanes, their limits and pauses."""

from __future__ import annotations

from typing import Any

from agentflow.v1 import control_pb2 as pb
from agentflow_gateway.api import convert
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.pages import Page
from agentflow_gateway.operations import lanes


class LaneService:
    async def ListLanes(self, request: Any, call: Call) -> Any:
        page = Page(request, "lanes", default=lanes.PAGE_SIZE)
        after = (page.after.number, page.after.name) if page.after is not None else None
        shown, last = await lanes.find_page(call.deps, after, page.limit)
        token = page.token(*last) if last is not None else ""
        return pb.ListLanesResponse(lanes=[_lane(lane, call.org) for lane in shown], next_page_token=token)

    async def GetLane(self, request: Any, call: Call) -> Any:
        return pb.GetLaneResponse(lane=_lane(await lanes.get_known(call.deps, request.name), call.org))

    async def SetLane(self, request: Any, call: Call) -> Any:
        change = convert.struct_of(lanes.LaneChange, request)
        return pb.SetLaneResponse(lane=_lane(await lanes.set_lane(call, request.name, change), call.org))


def _lane(lane: lanes.Lane, org: str) -> Any:
    setting, pool, keyed = lane.setting, lane.pool, lane.keyed
    is_pool = pool is not None and keyed is None
    return convert.message_of(
        pb.Lane,
        setting,
        name=lane.name,
        limit=setting.limit or (keyed.limit if keyed is not None else None),
        rate_per_s=None if is_pool else setting.rate_per_s or (keyed.rate_per_s if keyed is not None else None),
        keyed=lane.is_keyed,
        active=(pool.active if pool is not None else 0) + (len(keyed.holders) if keyed is not None else 0),
        queued=(pool.queued if pool is not None else 0) + (len(keyed.queue) if keyed is not None else 0),
        workers=pool.asking if pool is not None else 0,
        holders=lanes.holders(lane, org),
    )
