"""Checks of budgets, their periods in UTC, and the accounts that they limit. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from agentflow_common import ids, money
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.rpc import Budget, CreateBudgetRequest
from agentflow_cost.machine import AMOUNT_NANO_MAX, Limit

PERIODS: Final = ("daily", "weekly", "monthly", "total")
ORG: Final = "org"
WORKFLOW: Final = "workflow:"
_DAY: Final = timedelta(days=1)


def bounds(period: str, now_ms: int) -> tuple[int, int]:
    """Returns start and end (exclusive) of the current period in ms since the epoch.

    Weeks start on Monday. The period `total` is (0, 0).
    """
    if period == "total":
        return 0, 0
    start = datetime.fromtimestamp(now_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "daily":
        end = start + _DAY
    elif period == "weekly":
        start -= start.weekday() * _DAY
        end = start + 7 * _DAY
    else:
        start = start.replace(day=1)
        end = (start + 32 * _DAY).replace(day=1)
    return int(start.timestamp()) * 1000, int(end.timestamp()) * 1000


def check_new(request: CreateBudgetRequest) -> CreateBudgetRequest:
    """Returns the request with a name (`org-monthly` if it has none).

    Raises InvalidError with every problem.
    """
    problems = [*limit_problems(request.limit_nano)]
    workflow = request.scope.removeprefix(WORKFLOW)
    if request.period not in PERIODS:
        problems.append(Problem("period", f"{request.period[:40]!r} is not a period", f"use {', '.join(PERIODS)}"))
    if request.scope != ORG and not (request.scope.startswith(WORKFLOW) and ids.is_token(workflow)):
        problems.append(Problem("scope", f"{request.scope[:80]!r} is not a scope", "use 'org' or 'workflow:<name>'"))
    if not ids.is_token(request.org):
        problems.append(Problem("org", "not a valid name", "use 1 to 64 letters, digits, '_' or '-'"))
    name = request.name or f"{request.scope.replace(':', '-')[:50]}-{request.period}"
    if request.name and not ids.is_token(name):
        problems.append(Problem("name", "not a valid name", "use 1 to 64 letters, digits, '_' or '-'"))
    if problems:
        raise InvalidError.of(problems, "the budget is not valid")
    return msgspec.structs.replace(request, name=name)


def limit_problems(limit_nano: int) -> Iterable[Problem]:
    if not 0 < limit_nano <= AMOUNT_NANO_MAX:
        top = money.display(AMOUNT_NANO_MAX)
        yield Problem("limit", "is not an amount above zero", f"use more than $0 and at most {top}")


def check_limit(limit_nano: int) -> int:
    if problems := tuple(limit_problems(limit_nano)):
        raise InvalidError.of(problems, "the budget is not valid")
    return limit_nano


def way_out(budget: Budget) -> str:
    """Says what to do once the budget is used up."""
    fix = f"raise it (agentctl budget set {budget.name} --limit USD), remove it (agentctl budget delete {budget.name})"
    if budget.period != "total":
        until = datetime.fromtimestamp(budget.period_end / 1000, UTC)
        fix += f", wait for its next period ({until:%Y-%m-%d} UTC)"
    return f"{fix} or use a lower quality"


def applies(budget: Budget, workflow: str) -> bool:
    return budget.scope in {ORG, WORKFLOW + workflow}


def account_of(budget: Budget, now_ms: int) -> str:
    return f"budget:{budget.id}:{bounds(budget.period, now_ms)[0]}"


def run_account(org: str, run: str) -> str:
    return f"run:{org}:{run}"


def accounts_for(org: str, run: str, budgets: Iterable[Budget], workflow: str, now_ms: int) -> tuple[str, ...]:
    """Returns every account to which a call of the run is charged, in the order of their locks."""
    own = (account_of(budget, now_ms) for budget in budgets if applies(budget, workflow))
    return tuple(sorted({run_account(org, run), *own}))


def limits_for(
    org: str, run: str, run_budget_nano: int | None, budgets: Iterable[Budget], workflow: str, now_ms: int
) -> list[Limit]:
    limits = []
    if run_budget_nano is not None:
        fix = "submit the run with a larger budget, or use a lower quality or a smaller max_output_tokens"
        limits.append(Limit(run_account(org, run), run_budget_nano, "the budget of this run", fix))
    for budget in budgets:
        if applies(budget, workflow):
            label = f"the {budget.period} budget {budget.name!r} ({budget.scope})"
            now = msgspec.structs.replace(budget, period_end=bounds(budget.period, now_ms)[1])
            limits.append(Limit(account_of(budget, now_ms), budget.limit_nano, label, way_out(now)))
    return limits
