"""What waits for an approval, across runs: the table says where to look, each run's log how it stands."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from agentflow_common import subjects
from agentflow_common.runs.state import RunState, StepState
from agentflow_gateway import limits
from agentflow_gateway.api import pages
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import approval_rules
from agentflow_gateway.runs import view as run_view

_LOOKED_AT_MAX = 500  # rows of one page that turn out to be over, or another's


class _Place(NamedTuple):
    """The last row that was looked at."""

    since: pages.At
    run: pages.Text
    step: pages.Text


class OpenApproval(msgspec.Struct, frozen=True):
    state: RunState
    step: str
    found: StepState


async def listed(
    deps: Deps, call: Call, workflow: str, approver: str, page_size: int, page_token: str
) -> tuple[list[OpenApproval], str]:
    """(a page, the next page's token or empty), the longest waiting first."""
    limit = pages.page_size(page_size)
    limits.check_text(workflow, "workflow", 64)
    limits.check_text(approver, "approver", 100)
    after = pages.read(page_token, _Place)
    found: list[OpenApproval] = []
    folded: dict[str, RunState | None] = {}
    for _ in range(-(-_LOOKED_AT_MAX // limit)):
        rows = await deps.approvals.open_ones(call.org, after, limit)
        for row in rows:
            if len(found) == limit:
                return found, pages.token(after) if after else ""
            after = _Place(row.since, row.run, row.step)
            if row.run not in folded:
                loaded = await run_view.load(deps, subjects.key_of(call.org, row.run))
                folded[row.run] = None if loaded is None else loaded.state
            item = _open(folded[row.run], row.step, workflow, approver)
            if item is not None:
                found.append(item)
        if len(rows) < limit:
            return found, ""
    return found, pages.token(after) if after else ""


def _open(state: RunState | None, key: str, workflow: str, approver: str) -> OpenApproval | None:
    step = None if state is None else state.steps.get(key)
    if state is None or step is None or state.status.terminal or not approval_rules.is_open(step):
        return None
    approvers = step.detail.get("approvers", ())
    if (workflow and state.workflow != workflow) or (approver and approvers and approver not in approvers):
        return None
    return OpenApproval(state, key, step)
