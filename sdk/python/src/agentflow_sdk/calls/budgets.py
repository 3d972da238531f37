"""The calls that limit what model calls may cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from agentflow.v1 import budget_pb2 as pb
from agentflow_sdk.choices import Period
from agentflow_sdk.convert.answers import page_reader, reader
from agentflow_sdk.convert.requests import enum_name, message
from agentflow_sdk.errors import InvalidArgumentError
from agentflow_sdk.models.budgets import Budget, BudgetPeriod
from agentflow_sdk.models.money import to_nano
from agentflow_sdk.models.records import Page
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("BudgetService", pb)


def create_budget(
    limit_usd: Decimal | str | int,
    period: Period = "monthly",
    *,
    name: str = "",
    scope: str = "org",
    allow_unknown_workflow: bool = False,
    timeout: float | None = None,
) -> Call[Budget]:
    """Creates a budget.

    Args:
        limit_usd: The limit for one period in exact US dollars, such as `"12.50"`.
        period: `daily`, `weekly`, `monthly` or `total`.
        name: A name to find it by; empty for a generated one.
        scope: `org` for all runs, or `workflow:<name>` for the runs of one workflow.
        allow_unknown_workflow: Accepts a scope whose workflow is registered later.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The budget.

    Raises:
        InvalidArgumentError: The limit is not an amount above zero, or the period or the scope is not known.
        AlreadyExistsError: The org has a budget of this name.
        FailedPreconditionError: The org has as many budgets as it may have.
        PermissionDeniedError: The API key lacks the permission `admin`.
    """
    request = message(
        pb.CreateBudgetRequest,
        name=name,
        period=enum_name("BUDGET_PERIOD", period, BudgetPeriod, "period", "budget period"),
        limit_nano_usd=_limit(limit_usd),
        scope=scope,
        allow_unknown_workflow=allow_unknown_workflow,
    )
    return Call(_METHOD("CreateBudget"), request, reader(Budget, "budget"), timeout, repeatable=False)


def get_budget(budget: str, *, timeout: float | None = None) -> Call[Budget]:
    """Returns a budget.

    Args:
        budget: The id or the name.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The budget.

    Raises:
        NotFoundError: The org has no such budget.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    return Call(_METHOD("GetBudget"), pb.GetBudgetRequest(id=budget), reader(Budget, "budget"), timeout)


def list_budgets(*, limit: int = 1000, page_token: str = "", timeout: float | None = None) -> Call[Page[Budget]]:
    """Returns a page of budgets, by name.

    Args:
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page.

    Raises:
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.ListBudgetsRequest(page_size=limit, page_token=page_token)
    return Call(_METHOD("ListBudgets"), request, page_reader(Budget, "budgets"), timeout)


def update_budget(budget: str, *, limit_usd: Decimal | str | int, timeout: float | None = None) -> Call[Budget]:
    """Changes the limit of a budget. What was spent in the current period stays counted.

    Args:
        budget: The id or the name.
        limit_usd: The new limit for one period in exact US dollars, such as `"12.50"`.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The budget after the change.

    Raises:
        InvalidArgumentError: The limit is not an amount above zero.
        NotFoundError: The org has no such budget.
        PermissionDeniedError: The API key lacks the permission `admin`.
    """
    request = pb.UpdateBudgetRequest(id=budget, limit_nano_usd=_limit(limit_usd))
    return Call(_METHOD("UpdateBudget"), request, reader(Budget, "budget"), timeout)


def delete_budget(budget: str, *, timeout: float | None = None) -> Call[Budget]:
    """Deletes a budget. Model calls that are in progress settle as usual.

    Args:
        budget: The id or the name.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The budget in its last state.

    Raises:
        NotFoundError: The org has no such budget.
        PermissionDeniedError: The API key lacks the permission `admin`.
    """
    request = pb.DeleteBudgetRequest(id=budget)
    return Call(_METHOD("DeleteBudget"), request, reader(Budget, "budget"), timeout, repeatable=False)


def _limit(limit_usd: Decimal | str | int) -> int:
    """Returns an amount as nano-USD. Raises InvalidArgumentError unless it is above zero."""
    try:
        nano = to_nano(limit_usd)
        if nano <= 0:
            raise ValueError(f"{limit_usd} is not above 0")
    except ValueError as error:
        wrong, _, fix = str(error).partition("; ")
        fix = fix or "write US dollars, for example 1000 or 12.50"
        raise InvalidArgumentError.at("limit", wrong, fix) from None
    return nano
