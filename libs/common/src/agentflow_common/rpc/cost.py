"""Questions to the cost service: the models of a call and its reservation, cached answers, budgets."""

from __future__ import annotations

from typing import Any

from agentflow_common.rpc.verbs import Empty, Message, Verb


class Candidate(Message, frozen=True):
    """A model that may answer, best first."""

    provider: str
    model: str
    input_nano_per_mtok: int  # input_nano_per_mtok, output_nano_per_mtok: nano-USD for 10^6 tokens
    output_nano_per_mtok: int
    est_cost_nano: int  # nano-USD for the prompt bytes and the whole output limit


class RouteRequest(Message, frozen=True):
    """Asks for the models of a call, and for a reservation of its cost.

    The reservation is keyed by (run, step, attempt): asking again gives the same one.
    """

    org: str
    run: str
    step: str
    attempt: int
    quality: str  # `Gold`, `Silver` or `Bronze`
    prompt_bytes: int  # bounds the input tokens
    max_output_tokens: int
    providers: tuple[str, ...]  # those that the worker can call
    model: str = ""  # `provider/model` pins one
    sla_ms: int | None = None
    run_budget_nano: int | None = None  # the run's own budget, None if it has none
    cache_key: str = ""
    workflow: str = ""
    calls: int = 1  # how many calls the answer may take; each after the first also reads the answers before it


class RouteReply(Message, frozen=True):
    """The models that may answer a call, and the money reserved for it."""

    reservation: str
    reserved_nano: int
    candidates: tuple[Candidate, ...]
    # the answer of an earlier identical call (only when the node asked for caching)
    cached: dict[str, Any] | None = None


class CheckModelsRequest(Message, frozen=True):
    """Asks which of these models have no known price: a call of them would be refused."""

    models: tuple[str, ...]  # `provider/model`


class UnknownModel(Message, frozen=True):
    """A model without a known price, and names with one that are written nearly like it."""

    model: str
    near: tuple[str, ...] = ()


class CheckModelsReply(Message, frozen=True):
    """The models that are not known."""

    unknown: tuple[UnknownModel, ...] = ()


class CachePutRequest(Message, frozen=True):
    org: str
    cache_key: str
    value: dict[str, Any]
    ttl_s: int = 3600


class Budget(Message, frozen=True):
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


class CreateBudgetRequest(Message, frozen=True):
    org: str
    limit_nano: int
    period: str
    name: str = ""
    scope: str = "org"
    actor: str = ""


class ListBudgetsRequest(Message, frozen=True):
    """By name, those after `after`. limit 0: all."""

    org: str
    after: str = ""
    limit: int = 0


class ListBudgetsReply(Message, frozen=True):
    budgets: tuple[Budget, ...]


class GetBudgetRequest(Message, frozen=True):
    """Asks for one budget."""

    org: str
    id: str  # the budget's id or name


class UpdateBudgetRequest(Message, frozen=True):
    """Changes the limit of a budget."""

    org: str
    id: str  # the budget's id or name
    limit_nano: int | None = None  # None leaves the limit as it is
    actor: str = ""  # who asks, for the audit trail


class UpdateBudgetReply(Message, frozen=True):
    """The budget after the change."""

    budget: Budget
    changed: bool = False  # False if the budget had this limit already


class DeleteBudgetRequest(Message, frozen=True):
    """Deletes a budget."""

    org: str
    id: str  # the budget's id or name
    actor: str = ""  # who asks, for the audit trail


COST_ROUTE = Verb("cost", "route", RouteRequest, RouteReply)
COST_CHECK_MODELS = Verb("cost", "check_models", CheckModelsRequest, CheckModelsReply, 5.0)
COST_CACHE_PUT = Verb("cost", "cache_put", CachePutRequest, Empty)
BUDGET_CREATE = Verb("cost", "budget_create", CreateBudgetRequest, Budget)
BUDGET_LIST = Verb("cost", "budget_list", ListBudgetsRequest, ListBudgetsReply)
BUDGET_GET = Verb("cost", "budget_get", GetBudgetRequest, Budget)
BUDGET_UPDATE = Verb("cost", "budget_update", UpdateBudgetRequest, UpdateBudgetReply)
BUDGET_DELETE = Verb("cost", "budget_delete", DeleteBudgetRequest, Budget)
