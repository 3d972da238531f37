"""BudgetService: budgets live in the cost service."""

from __future__ import annotations

from typing import Any

from agentflow.v1 import budget_pb2 as pb
from agentflow.v1 import budget_pb2_grpc
from agentflow_common import rpc
from agentflow_common.errors import InvalidError, Problem
from agentflow_gateway import calls, convert, machine
from agentflow_gateway.deps import Deps


class BudgetService(budget_pb2_grpc.BudgetServiceServicer):
    def __init__(self, deps: Deps) -> None:
        self._nc = deps.nc

    async def CreateBudget(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = calls.current()
        problems = []
        period = convert.period_name(request.period)
        if not period:
            problems.append(Problem("period", "not set", "use daily, weekly, monthly or total"))
        if request.limit_nano_usd <= 0:
            fix = "give a positive number of nano-USD (1 USD = 10^9)"
            problems.append(Problem("limit_nano_usd", f"{request.limit_nano_usd:,} is not a limit", fix))
        if problems:
            raise InvalidError(f"the budget is not valid: {problems[0]}", problems=tuple(problems))
        question = rpc.CreateBudgetRequest(
            org=call.org,
            limit_nano=request.limit_nano_usd,
            period=period,
            name=machine.check_text(request.name, "name", 100),
            scope=machine.check_text(request.scope, "scope", 100) or "org",
        )
        return pb.CreateBudgetResponse(budget=_budget(await call.ask(self._nc, rpc.BUDGET_CREATE, question)))

    async def ListBudgets(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        call = calls.current()
        reply = await call.ask(self._nc, rpc.BUDGET_LIST, rpc.ListBudgetsRequest(org=call.org))
        return pb.ListBudgetsResponse(budgets=[_budget(budget) for budget in reply.budgets])

    async def GetBudget(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = calls.current()
        found = await call.ask(self._nc, rpc.BUDGET_GET, rpc.GetBudgetRequest(org=call.org, id=request.id))
        return pb.GetBudgetResponse(budget=_budget(found))


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
