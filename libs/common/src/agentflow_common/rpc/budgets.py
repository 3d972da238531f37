"""Budgets, asked of the cost service; see rpc.py."""

from __future__ import annotations

import msgspec

from agentflow_common.rpc import Verb


class _Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    pass


class Budget(_Struct, frozen=True):
    """A budget and what was spent of it."""

    id: str
    org: str
    name: str
    period: str  # `daily`, `weekly`, `monthly` or `total`
    limit_nano: int
    scope: str = "org"  # `org` or `workflow:<name>`. Amounts in nano-USD.
    spent_nano: int = 0
    reserved_nano: int = 0
    period_start: int = 0
    period_end: int = 0
    created_at: int = 0


class CreateBudgetRequest(_Struct, frozen=True):
    org: str
    limit_nano: int
    period: str
    name: str = ""
    scope: str = "org"
    actor: str = ""


class ListBudgetsRequest(_Struct, frozen=True):
    """By name, those after `after`. limit 0: all."""

    org: str
    after: str = ""
    limit: int = 0


class ListBudgetsReply(_Struct, frozen=True):
    budgets: tuple[Budget, ...]


class GetBudgetRequest(_Struct, frozen=True):
    """Asks for one budget."""

    org: str
    id: str  # the budget's id or name


class UpdateBudgetRequest(_Struct, frozen=True):
    """Changes the limit of a budget."""

    org: str
    id: str  # the budget's id or name
    limit_nano: int | None = None  # None leaves the limit as it is
    actor: str = ""  # who asks, for the audit trail


class UpdateBudgetReply(_Struct, frozen=True):
    """The budget after the change."""

    budget: Budget
    changed: bool = False  # False if the budget had this limit already


class DeleteBudgetRequest(_Struct, frozen=True):
    """Deletes a budget."""

    org: str
    id: str  # the budget's id or name
    actor: str = ""  # who asks, for the audit trail


BUDGET_CREATE = Verb("cost", "budget_create", CreateBudgetRequest, Budget)
BUDGET_LIST = Verb("cost", "budget_list", ListBudgetsRequest, ListBudgetsReply)
BUDGET_GET = Verb("cost", "budget_get", GetBudgetRequest, Budget)
BUDGET_UPDATE = Verb("cost", "budget_update", UpdateBudgetRequest, UpdateBudgetReply)
BUDGET_DELETE = Verb("cost", "budget_delete", DeleteBudgetRequest, Budget)
