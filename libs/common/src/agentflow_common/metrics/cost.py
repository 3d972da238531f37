"""Money, budgets and the health of providers, as the cost service sees them."""

from __future__ import annotations

from typing import Final

from agentflow_common.metrics.bounded import counter, snapshot
from agentflow_common.metrics.labels import MODEL, ORG, PROVIDER, STATUS, TYPE

COST_NANO: Final = counter(
    "model_cost_nano_usd", "Settled cost of model calls in nano-USD, as in the ledger", PROVIDER, MODEL, ORG
)
TOKENS: Final = counter("model_tokens", "Settled tokens of model calls", PROVIDER, MODEL, ORG, TYPE)
CALLS: Final = counter("model_calls", "Settled model calls; status: `ok` or `failed`", PROVIDER, MODEL, ORG, STATUS)

BUDGET_SPENT: Final = snapshot("budget_spent_usd", "Spent in the budget's current period", "org", "budget")
BUDGET_RESERVED: Final = snapshot("budget_reserved_usd", "Reserved for calls that are under way", "org", "budget")
BUDGET_LIMIT: Final = snapshot("budget_limit_usd", "Limit of a budget", "org", "budget")
BUDGET_PERIOD: Final = snapshot(
    "budget_period_seconds", "Length of the budget's current period; none for the period `total`", "org", "budget"
)
BUDGETS_SHOWN_MAX: Final = 200  # the budgets of which the largest part is spent

PROVIDER_FAILURES: Final = snapshot(
    "provider_failures_in_a_row", "Failed calls since the last success of a model", "provider", "model"
)
PROVIDER_COOLING: Final = snapshot(
    "provider_cooling_down", "1 while a model is tried last because it fails (the breaker is open)", "provider", "model"
)
