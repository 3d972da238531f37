"""BudgetService: budgets live in the cost service; the gateway knows which workflows exist."""

from __future__ import annotations

from typing import Any, Final

from agentflow.v1 import budget_pb2 as pb
from agentflow_common import money, rpc
from agentflow_common.errors import InvalidError, Problem
from agentflow_gateway import limits
from agentflow_gateway.api import convert, pages
from agentflow_gateway.api.call import Call
from agentflow_gateway.definitions import lookup

WORKFLOW: Final = "workflow:"
LIMIT_NANO_MAX: Final = 9 * 10**18  # what a signed 64-bit column holds, rounded down to whole billions of dollars
PERIOD: Final = convert.EnumNames(pb.BudgetPeriod, "period")


class BudgetService:
    async def CreateBudget(self, request: Any, call: Call) -> Any:
        problems = []
        period = PERIOD.name(request.period)
        if not period:
            problems.append(Problem("period", "not set", "use daily, weekly, monthly or total"))
        problems += _limit_problems(request.limit_nano_usd)
        scope = limits.check_text(request.scope, "scope", 100) or "org"
        if not request.allow_unknown_workflow:
            problems += await _scope_problems(call, scope)
        if problems:
            raise InvalidError.of(problems, "the budget is not valid")
        question = rpc.CreateBudgetRequest(
            org=call.org,
            limit_nano=request.limit_nano_usd,
            period=period,
            name=limits.check_text(request.name, "name", 100),
            scope=scope,
            actor=call.identity.actor,
        )
        return pb.CreateBudgetResponse(budget=_budget(await call.ask(rpc.BUDGET_CREATE, question)))

    async def ListBudgets(self, request: Any, call: Call) -> Any:
        page = pages.Page(request, "budgets", default=pages.PAGE_SIZE_MAX)
        question = rpc.ListBudgetsRequest(org=call.org, after=page.after_name, limit=page.limit + 1)
        reply = await call.ask(rpc.BUDGET_LIST, question)
        budgets, token = page.cut(reply.budgets, lambda budget: (0, budget.name))
        return pb.ListBudgetsResponse(budgets=[_budget(budget) for budget in budgets], next_page_token=token)

    async def GetBudget(self, request: Any, call: Call) -> Any:
        question = rpc.GetBudgetRequest(org=call.org, id=request.id)
        return pb.GetBudgetResponse(budget=_budget(await call.ask(rpc.BUDGET_GET, question)))

    async def UpdateBudget(self, request: Any, call: Call) -> Any:
        limit = convert.optional(request, "limit_nano_usd")
        if limit is None:
            fix = "give the new limit in nano-USD (1 USD = 10^9)"
            raise InvalidError.at("limit_nano_usd", "the request changes nothing: no limit is set", fix)
        if problems := _limit_problems(limit):
            raise InvalidError.of(problems, "the budget is not valid")
        question = rpc.UpdateBudgetRequest(org=call.org, id=request.id, limit_nano=limit, actor=call.identity.actor)
        reply = await call.ask(rpc.BUDGET_UPDATE, question)
        return pb.UpdateBudgetResponse(budget=_budget(reply.budget), changed=reply.changed)

    async def DeleteBudget(self, request: Any, call: Call) -> Any:
        question = rpc.DeleteBudgetRequest(org=call.org, id=request.id, actor=call.identity.actor)
        return pb.DeleteBudgetResponse(budget=_budget(await call.ask(rpc.BUDGET_DELETE, question)))


def _limit_problems(limit_nano: int) -> list[Problem]:
    if 0 < limit_nano <= LIMIT_NANO_MAX:
        return []
    fix = f"give more than 0 and at most {LIMIT_NANO_MAX:,} nano-USD ({money.display(LIMIT_NANO_MAX)}; 1 USD = 10^9)"
    return [Problem("limit_nano_usd", f"{limit_nano:,} is not a valid limit", fix)]


async def _scope_problems(call: Call, scope: str) -> list[Problem]:
    """Returns a problem if the workflow of a budget is unknown: with a typing error the budget would limit nothing."""
    name = scope.removeprefix(WORKFLOW)
    if not scope.startswith(WORKFLOW) or not name or await call.store.runs.knows_workflow(call.org, name):
        return []
    hint = await lookup.hint_for(call, name)
    fix = f"{hint} Or register the workflow first" if hint else "register the workflow first"
    fix += ", or allow an unknown workflow: --allow-unknown"
    return [Problem("scope", f"no workflow {name!r} was registered or submitted", fix)]


def _budget(budget: rpc.Budget) -> Any:
    return convert.message_of(pb.Budget, budget)
