"""Changes of budgets, asked of the cost service. Budgets themselves: see rpc.py."""

from __future__ import annotations

import msgspec

from agentflow_common.rpc import Budget, Verb


class _Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    pass


class UpdateBudgetRequest(_Struct, frozen=True):
    """id: the budget's id or name. limit_nano: None leaves the limit as it is. actor: who asks, for the audit trail."""

    org: str
    id: str
    limit_nano: int | None = None
    actor: str = ""


class UpdateBudgetReply(_Struct, frozen=True):
    """changed: False if the budget had this limit already."""

    budget: Budget
    changed: bool = False


class DeleteBudgetRequest(_Struct, frozen=True):
    """id: the budget's id or name. actor: who asks, for the audit trail."""

    org: str
    id: str
    actor: str = ""


BUDGET_UPDATE = Verb("cost", "budget_update", UpdateBudgetRequest, UpdateBudgetReply)
BUDGET_DELETE = Verb("cost", "budget_delete", DeleteBudgetRequest, Budget)
