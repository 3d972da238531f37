"""The verbs of budgets: decode, load, decide, store, report to the audit log."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Final

from agentflow_common import events, ids, money, rpc, subjects
from agentflow_common.clock import Clock
from agentflow_common.errors import AgentFlowError, AlreadyExistsError, NotFoundError, TerminalError
from agentflow_common.events import AuditRecorded
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.rpc import Budget
from agentflow_common.rpc.bus import Route
from agentflow_cost import budgets
from agentflow_cost.store_budgets import BudgetStore, Change

log = logging.getLogger(__name__)

BUDGETS_MAX: Final = 200  # of one org: each is locked by every call that it covers


class BudgetHandlers:
    """Creates, changes and deletes budgets.

    A change is durable together with its row of history. It reaches the audit log at once, or by
    the next sweep.
    """

    def __init__(self, store: BudgetStore, event_log: EventLog, clock: Clock) -> None:
        self._store = store
        self._log = event_log
        self._clock = clock
        self._telling = asyncio.Lock()

    def routes(self) -> list[Route]:
        return [
            (rpc.BUDGET_CREATE, self.create),
            (rpc.BUDGET_LIST, self.list_),
            (rpc.BUDGET_GET, self.get),
            (rpc.BUDGET_UPDATE, self.update),
            (rpc.BUDGET_DELETE, self.delete),
        ]

    async def create(self, request: rpc.CreateBudgetRequest) -> Budget:
        checked = budgets.check_new(request)
        now = self._clock.now_ms()
        start, end = budgets.bounds(checked.period, now)
        budget = Budget(
            id=f"bud_{secrets.token_hex(8)}", org=checked.org, name=checked.name, period=checked.period,
            limit_nano=checked.limit_nano, scope=checked.scope, created_at=now, period_start=start, period_end=end,
        )  # fmt: skip
        if await self._store.count(checked.org) >= BUDGETS_MAX:
            fix = "delete some, or use fewer, wider budgets"
            raise TerminalError.at("org", f"the org has {BUDGETS_MAX} budgets", fix, kind="too_many_budgets")
        change = self._change(budget, "budget.created", f"limit {money.display(budget.limit_nano)}", checked.actor)
        if not await self._store.create(budget, change):
            fix = f"choose another name, or change it: agentctl budget set {checked.name} --limit USD"
            raise AlreadyExistsError.at("name", f"budget {checked.name!r} exists", fix)
        await self._report_now(checked.org)
        return budget

    async def list_(self, request: rpc.ListBudgetsRequest) -> rpc.ListBudgetsReply:
        ids.check_token(request.org, "org")
        found = await self._store.page(request.org, self._clock.now_ms(), request.after, max(0, request.limit))
        return rpc.ListBudgetsReply(budgets=tuple(found))

    async def get(self, request: rpc.GetBudgetRequest) -> Budget:
        _check_names(request.org, request.id)
        found = await self._store.find(request.org, request.id, self._clock.now_ms())
        if found is None:
            raise _unknown(request.id)
        return found

    async def update(self, request: rpc.UpdateBudgetRequest) -> rpc.UpdateBudgetReply:
        """Changes the limit from the next call on.

        Money that was spent or reserved still counts.
        """
        _check_names(request.org, request.id)
        if request.limit_nano is None:
            found = await self.get(rpc.GetBudgetRequest(org=request.org, id=request.id))
            return rpc.UpdateBudgetReply(budget=found)

        def note(before: Budget, after: Budget) -> Change:
            detail = f"limit {money.display(before.limit_nano)} -> {money.display(after.limit_nano)}"
            return self._change(after, "budget.changed", detail, request.actor)

        limit = budgets.check_limit(request.limit_nano)
        changed = await self._store.update(request.org, request.id, limit, note)
        if changed is None:
            raise _unknown(request.id)
        before, after = changed
        await self._report_now(request.org)
        shown = await self._store.filled(after, self._clock.now_ms())
        return rpc.UpdateBudgetReply(budget=shown, changed=before != after)

    async def delete(self, request: rpc.DeleteBudgetRequest) -> Budget:
        """Removes the limit from the next call on.

        Open calls settle on the accounts of their reservation.
        """
        _check_names(request.org, request.id)
        now = self._clock.now_ms()

        def note(found: Budget) -> Change:
            return self._change(found, "budget.deleted", f"limit {money.display(found.limit_nano)}", request.actor)

        found = await self._store.delete(request.org, request.id, note)
        if found is None:
            raise _unknown(request.id)
        await self._report_now(request.org)
        return await self._store.filled(found, now)

    def _change(self, budget: Budget, action: str, detail: str, actor: str) -> Change:
        text = f"{budget.period} budget {budget.name} ({budget.id}) of {budget.scope}: {detail}"
        return Change(
            org=budget.org, budget=budget.id, action=action, detail=text, actor=actor, at=self._clock.now_ms()
        )

    # --- the audit log ---

    async def _report_now(self, org: str) -> None:
        """Reports changes now if the audit log can be reached.

        They are stored, so the sweep can do it later.
        """
        try:
            await self.report_changes(org)
        except (AgentFlowError, OSError, TimeoutError) as error:
            log.warning("a change of a budget will be reported to the audit log later: %s", error)

    async def report_changes(self, org: str = "") -> None:
        """Appends the changes that the audit log lacks, each once, even after a crash at any point."""
        async with self._telling:
            for change in await self._store.unreported(org):
                subject = subjects.audit(change.org, "")
                record = AuditRecorded(
                    org=change.org, run="", ts=change.at, action=change.action, actor=change.actor or "cost",
                    reason=change.detail,
                )  # fmt: skip
                entry = Entry(subject, events.encode(record), msg_id=f"{change.budget}-{change.id}")
                if not await self._is_reported(subject, entry.data, change.at):
                    await self._log.append(entry)
                await self._store.mark_reported([change.id])

    async def _is_reported(self, subject: str, data: bytes, at_ms: int) -> bool:
        """True if an earlier attempt appended it.

        The server remembers message ids for two minutes only.
        """
        if self._clock.now_ms() - at_ms < MESSAGE_IDS_MS:
            return False
        stored = await self._log.read(subject, stream=subjects.AUDIT_STREAM)
        return any(message.data == data for message in stored)


MESSAGE_IDS_MS: Final = 60_000  # half of the time for which the server remembers message ids


def _check_names(org: str, budget: str) -> None:
    ids.check_token(org, "org")
    ids.check_token(budget, "budget")


def _unknown(name: str) -> NotFoundError:
    fix = "see their names and ids with: agentctl budget list"
    return NotFoundError.at("id", f"budget {name!r} does not exist", fix)
