"""Lists the runs of the caller's org, newest first."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agentflow_gateway import limits
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.pages import Page
from agentflow_gateway.runs.submission import check_tags
from agentflow_gateway.store.runs import RunFilter, RunRow


def filters_of(chosen: RunFilter) -> tuple[str, ...]:
    """Returns what a page token of this list belongs to."""
    tags = msgspec.json.encode(chosen.tags, order="sorted").decode()
    return (",".join(chosen.statuses), chosen.workflow, chosen.run_prefix, tags)


async def find(call: Call, chosen: RunFilter, page: Page) -> tuple[Sequence[RunRow], str]:
    """Returns (rows, the next page's token or empty)."""
    limits.check_text(chosen.workflow, "workflow", 64)
    check_tags(chosen.tags)
    limits.check_text(chosen.run_prefix, "run_id_prefix", 64)
    after = None if page.after is None else (page.after.number, page.after.name)
    rows = await call.store.runs.find(call.org, chosen, after, page.limit + 1)
    return page.cut(rows, lambda row: (row.submitted_at, row.run))
