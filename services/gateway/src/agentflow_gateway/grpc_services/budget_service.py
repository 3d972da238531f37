"""BudgetService: budgets live in the cost service; which workflows there are, the gateway knows."""

from __future__ import annotations

import difflib
from typing import Any, Final

from agentflow.v1 import budget_pb2 as pb
from agentflow.v1 import budget_pb2_grpc
from agentflow_common import money, rpc
from agentflow_common.errors import InvalidError, Problem
from agentflow_gateway import limits
from agentflow_gateway.api import call_context, convert, pages
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.dependencies import Deps

WORKFLOW: Final = "workflow:"
LIMIT_NANO_MAX: Final = 9 * 10**18  # what a signed 64-bit column holds, rounded down to whole billions of dollars


class BudgetService(budget_pb2_grpc.BudgetServiceServicer):
    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._nc = deps.nc

    async def CreateBudget(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = call_context.current()
        problems = []
        period = convert.period_name(request.period)
        if not period:
            problems.append(Problem("period", "not set", "use daily, weekly, monthly or total"))
        problems += _limit_problems(request.limit_nano_usd)
        scope = limits.check_text(request.scope, "scope", 100) or "org"
        if not request.allow_unknown_workflow:
            problems += await _scope_problems(self._deps, call, scope)
        if problems:
            raise InvalidError(f"the budget is not valid: {problems[0]}", problems=tuple(problems))
        question = rpc.CreateBudgetRequest(
            org=call.org,
            limit_nano=request.limit_nano_usd,
            period=period,
            name=limits.check_text(request.name, "name", 100),
            scope=scope,
            actor=call.identity.actor,
        )
        return pb.CreateBudgetResponse(budget=_budget(await call.ask(self._nc, rpc.BUDGET_CREATE, question)))

    async def ListBudgets(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = call_context.current()
        limit = pages.page_size(request.page_size, default=pages.PAGE_SIZE_MAX)
        after = pages.after_name("budgets", request.page_token)
        question = rpc.ListBudgetsRequest(org=call.org, after=after, limit=limit + 1)
        found = (await call.ask(self._nc, rpc.BUDGET_LIST, question)).budgets
        shown, token = pages.cut("budgets", found, limit, lambda budget: budget.name)
        return pb.ListBudgetsResponse(budgets=[_budget(budget) for budget in shown], next_page_token=token)

    async def GetBudget(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = call_context.current()
        found = await call.ask(self._nc, rpc.BUDGET_GET, rpc.GetBudgetRequest(org=call.org, id=request.id))
        return pb.GetBudgetResponse(budget=_budget(found))

    async def UpdateBudget(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = call_context.current()
        limit = request.limit_nano_usd if request.HasField("limit_nano_usd") else None
        if limit is None:
            problem = Problem("limit_nano_usd", "not set", "give the new limit in nano-USD (1 USD = 10^9)")
            raise InvalidError(f"nothing is to be changed: {problem}", problems=(problem,))
        if problems := _limit_problems(limit):
            raise InvalidError(f"the budget is not valid: {problems[0]}", problems=tuple(problems))
        question = rpc.UpdateBudgetRequest(org=call.org, id=request.id, limit_nano=limit, actor=call.identity.actor)
        reply = await call.ask(self._nc, rpc.BUDGET_UPDATE, question)
        return pb.UpdateBudgetResponse(budget=_budget(reply.budget), changed=reply.changed)

    async def DeleteBudget(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = call_context.current()
        question = rpc.DeleteBudgetRequest(org=call.org, id=request.id, actor=call.identity.actor)
        return pb.DeleteBudgetResponse(budget=_budget(await call.ask(self._nc, rpc.BUDGET_DELETE, question)))


def _limit_problems(limit_nano: int) -> list[Problem]:
    if 0 < limit_nano <= LIMIT_NANO_MAX:
        return []
    fix = f"give more than 0 and at most {LIMIT_NANO_MAX:,} nano-USD ({money.display(LIMIT_NANO_MAX)}; 1 USD = 10^9)"
    return [Problem("limit_nano_usd", f"{limit_nano:,} is not a limit", fix)]


async def _scope_problems(deps: Deps, call: Call, scope: str) -> list[Problem]:
    """A budget on a workflow that does not exist limits nothing: a typing error would cost money."""
    name = scope.removeprefix(WORKFLOW)
    if not scope.startswith(WORKFLOW) or not name or await deps.store.knows_workflow(call.org, name):
        return []
    close = difflib.get_close_matches(name, await deps.store.definition_names(call.org), n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}? " if close else ""
    fix = f"{hint}register the workflow first, or allow an unknown workflow (--allow-unknown)"
    return [Problem("scope", f"no workflow {name!r} was registered or submitted", fix)]


def _budget(found: rpc.Budget) -> Any:
    return pb.Budget(
        id=found.id,
        name=found.name,
        period=convert.period(found.period),
        limit_nano_usd=found.limit_nano,
        scope=found.scope,
        spent_nano_usd=found.spent_nano,
        reserved_nano_usd=found.reserved_nano,
        period_start=found.period_start,
        period_end=found.period_end,
        created_at=found.created_at,
    )
