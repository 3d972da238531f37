"""The questions that a worker answers about the places which schedules watch."""

from __future__ import annotations

from agentflow_common import rpc
from agentflow_common.clock import Clock
from agentflow_common.errors import InvalidError
from agentflow_common.rpc.bus import Route
from agentflow_worker.invoke import offload
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.sources import buckets, folders, rows


def routes(settings: WorkerSettings, clock: Clock) -> list[Route]:
    """Returns the verbs that a worker serves."""

    async def list_files(request: rpc.ListFilesRequest) -> rpc.ListFilesReply:
        if request.bucket:
            listing = await buckets.objects(request, settings, clock.now_ms())
        elif request.folder:
            listing = await offload(lambda: folders.files(request, settings, clock.now_ms()), settings.threads_max)
        else:
            raise InvalidError("neither a folder nor a bucket is named", kind="invalid_argument")
        return listing.page(request)

    async def read_rows(request: rpc.ReadRowsRequest) -> rpc.ReadRowsReply:
        return await rows.read(request, settings)

    return [(rpc.LIST_FILES, list_files), (rpc.READ_ROWS, read_rows)]
