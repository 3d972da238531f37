"""The open approvals of an org. The table names the runs that may have one; the log of a run has its state."""

from __future__ import annotations

from typing import Final

import msgspec

from agentflow_common.runs.state import RunState, StepState
from agentflow_gateway import limits
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.pages import Page
from agentflow_gateway.controls import approval_rules
from agentflow_gateway.runs import view as run_view

_LOOKED_AT_MAX: Final = 500  # rows for one page; some turn out to be over, or another person's


class OpenApproval(msgspec.Struct, frozen=True):
    run: RunState
    step: str
    state: StepState


async def find(call: Call, workflow: str, approver: str, page: Page) -> tuple[list[OpenApproval], str]:
    """Returns (a page, the next page's token or empty), the longest waiting first."""
    limits.check_text(workflow, "workflow", 64)
    limits.check_text(approver, "approver", 100)
    after = None
    if page.after is not None:
        run, _, step = page.after.name.partition("/")
        after = (page.after.number, run, step)
    approvals: list[OpenApproval] = []
    folded: dict[str, RunState | None] = {}
    for _ in range(-(-_LOOKED_AT_MAX // page.limit)):
        rows = await call.store.approvals.find_open(call.org, after, page.limit)
        for row in rows:
            if len(approvals) == page.limit:
                return approvals, _token(page, after)
            after = (row.since, row.run, row.step)
            if row.run not in folded:
                loaded = await run_view.load(call, row.run)
                folded[row.run] = None if loaded is None else loaded.state
            item = _open(folded[row.run], row.step, workflow, approver)
            if item is not None:
                approvals.append(item)
        if len(rows) < page.limit:
            return approvals, ""
    return approvals, _token(page, after)


def _token(page: Page, after: tuple[int, str, str] | None) -> str:
    return "" if after is None else page.token(after[0], f"{after[1]}/{after[2]}")


def _open(state: RunState | None, key: str, workflow: str, approver: str) -> OpenApproval | None:
    step = None if state is None else state.steps.get(key)
    if state is None or step is None or state.status.terminal or not approval_rules.is_open(step):
        return None
    approvers = step.detail.get("approvers", ())
    if (workflow and state.workflow != workflow) or (approver and approvers and approver not in approvers):
        return None
    return OpenApproval(state, key, step)
