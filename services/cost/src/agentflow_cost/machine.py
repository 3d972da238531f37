"""The arithmetic of cost, with no I/O, clock or chance: estimates, routes, admission, settlement,
health.

Money is an integer number of nano-USD. An account counts the money that was spent and the money
that is reserved. A limit applies to one account. A hold is a reservation on several accounts at
once.

One law rules this module. While every actual cost is at most the amount reserved for it, spent plus
reserved never passes a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from agentflow_common import money
from agentflow_common.errors import BudgetExceededError, InvalidError, Problem, TerminalError
from agentflow_common.rpc import Candidate, RouteRequest

OFFLINE: Final = "local"
TIERS: Final = ("Gold", "Silver", "Bronze")
FRAMING_TOKENS: Final = 32  # added by a provider around a system text and one message
CONTINUATION_TOKENS: Final = 256  # more than a request to continue an answer needs
CALLS_MAX: Final = 10
PROMPT_BYTES_MAX: Final = 64 * 1024 * 1024
OUTPUT_TOKENS_MAX: Final = 1_000_000
AMOUNT_NANO_MAX: Final = 9 * 10**18  # a signed 64-bit column: nine billion dollars
TOKENS_PER_PRICE: Final = 1_000_000
RESERVATION_MS: Final = 15 * 60 * 1000
FAILURES_BEFORE_COOLDOWN: Final = 3
COOLDOWN_MS: Final = 15_000
COOLDOWN_MS_MAX: Final = 300_000

HELD: Final = "held"
SETTLED: Final = "settled"
RELEASED: Final = "released"
EXPIRED: Final = "expired"


class Rate(NamedTuple):
    """A price in nano-USD for 10^6 model tokens, for calls of at least `from_tokens` input tokens."""

    from_tokens: int
    input_nano: int
    output_nano: int


class Price(NamedTuple):
    """Rates by size of the input, ascending; the first starts at 0.

    A call pays one rate for all its tokens.
    """

    rates: tuple[Rate, ...]

    def at(self, input_tokens: int) -> Rate:
        return next(rate for rate in reversed(self.rates) if rate.from_tokens <= input_tokens)


class Model(NamedTuple):
    """A line of models.yaml."""

    provider: str
    model: str
    tiers: tuple[str, ...]


class Account(NamedTuple):
    id: str
    spent: int = 0
    reserved: int = 0
    ended: bool = False


class Limit(NamedTuple):
    """The most that an account may spend."""

    account: str
    limit: int  # nano-USD
    label: str  # its name in messages: `the budget of this run`
    fix: str


class Hold(NamedTuple):
    """A reservation."""

    id: str
    org: str
    run: str
    amount: int
    state: str
    accounts: tuple[str, ...]  # the amount is reserved on these, and the cost is charged to them


class Settlement(NamedTuple):
    """A step event with a cost."""

    seq: int  # in AF_EVENTS
    reservation: str
    cost: int
    fallback: tuple[str, ...]  # accounts, if its hold is unknown


class Delta(msgspec.Struct):
    spent: int = 0
    reserved: int = 0


class Changes(msgspec.Struct):
    """The effects of settlements on accounts and holds."""

    accounts: dict[str, Delta]  # amounts to add
    holds: dict[str, str]  # new states
    reserved: dict[int, int]  # by sequence: the amount that had been reserved for the settlement


# --- the cost of a call ---


def estimate(price: Price, prompt_bytes: int, max_output_tokens: int, calls: int = 1) -> tuple[Rate, int]:
    """Returns the rate and the highest cost of an answer.

    No tokenizer makes more tokens than there are UTF-8 bytes. calls: the number of calls that the
    answer may take; each reads the prompt and the texts of the calls before it.
    """
    input_tokens = prompt_bytes + FRAMING_TOKENS
    read = [input_tokens + n * (max_output_tokens + CONTINUATION_TOKENS) for n in range(calls)]
    return price.at(input_tokens), sum(cost_of(price.at(each), each, max_output_tokens) for each in read)


def cost_of(rate: Rate, input_tokens: int, output_tokens: int) -> int:
    """Returns the cost in nano-USD, rounded up."""
    return -(-(input_tokens * rate.input_nano + output_tokens * rate.output_nano) // TOKENS_PER_PRICE)


def check_request(request: RouteRequest) -> None:
    """Raises InvalidError for amounts and names that can't be priced."""
    problems = []
    if request.quality not in TIERS:
        problems.append(Problem("quality", f"{request.quality[:40]!r} is not a quality", f"use {', '.join(TIERS)}"))
    if not 0 <= request.prompt_bytes <= PROMPT_BYTES_MAX:
        problems.append(Problem("prompt_bytes", "out of range", f"use 0 to {PROMPT_BYTES_MAX:,}"))
    if not 1 <= request.max_output_tokens <= OUTPUT_TOKENS_MAX:
        problems.append(Problem("max_output_tokens", "out of range", f"use 1 to {OUTPUT_TOKENS_MAX:,}"))
    if not 1 <= request.calls <= CALLS_MAX:
        problems.append(Problem("calls", "out of range", f"use 1 to {CALLS_MAX}"))
    if request.run_budget_nano is not None and not 0 <= request.run_budget_nano <= AMOUNT_NANO_MAX:
        problems.append(Problem("run_budget_nano", "out of range", "use an amount in nano-USD, or leave it out"))
    if not 0 <= request.attempt < 2**31 or not request.step or "\x00" in request.step or "\x00" in request.workflow:
        problems.append(Problem("step", "is not a valid step and attempt", "name the step and its attempt"))
    if request.model and not all(request.model.partition("/")):
        problems.append(Problem("model", f"{request.model[:80]!r} names no provider", "write provider/model"))
    if problems:
        raise InvalidError.of(problems, "the route request is not valid")


def wanted(request: RouteRequest, models: Sequence[Model]) -> list[tuple[str, str]]:
    """Returns the (provider, model) pairs that may answer, best first.

    The offline provider is one of them only if it is pinned or there is no other. Raises
    TerminalError if no worker can call any model.
    """
    callable_ = set(request.providers)
    if request.model:
        provider, _, model = request.model.partition("/")
        if provider not in callable_:
            raise _unreachable(request, f"the model is pinned to {request.model}, and no worker can call {provider!r}")
        return [(provider, model)]
    found = [(m.provider, m.model) for m in models if request.quality in m.tiers and m.provider in callable_]
    # the offline provider does not replace a model that fails: it answers if there is no other, or if it is pinned
    found = [model for model in found if model[0] != OFFLINE] or found
    if not found:
        raise _unreachable(
            request, f"no {request.quality} model is offered by {', '.join(sorted(callable_)) or 'any provider'}"
        )
    return found


def _unreachable(request: RouteRequest, why: str) -> TerminalError:
    can = ", ".join(sorted(request.providers)) or "none"
    simulated = request.model.partition("/")[0] == "sim"
    wanted = "set AGENTFLOW_SIM_MODELS" if simulated else "set the provider's API key"
    fix = f"{wanted} for the workers, or choose among the providers they can call: {can}"
    return TerminalError.at("model", f"step {request.step!r} has no model: {why}", fix, kind="no_candidate")


def candidate(provider: str, model: str, price: Price, request: RouteRequest) -> Candidate:
    rate, cost = estimate(price, request.prompt_bytes, request.max_output_tokens, request.calls)
    return Candidate(
        provider=provider, model=model, input_nano_per_mtok=rate.input_nano, output_nano_per_mtok=rate.output_nano,
        est_cost_nano=cost,
    )  # fmt: skip


# --- reservation and settlement ---


def admit(
    candidates: Sequence[Candidate], limits: Iterable[Limit], accounts: Mapping[str, Account]
) -> tuple[tuple[Candidate, ...], int]:
    """Returns the candidates that fit every limit, in their order, and the amount to reserve.

    The amount is that of the most expensive one. Raises BudgetExceededError if no candidate fits;
    the error names the limit with the least room.
    """
    tightest: Limit | None = None
    room = AMOUNT_NANO_MAX
    for limit in limits:
        account = accounts.get(limit.account, Account(limit.account))
        left = limit.limit - account.spent - account.reserved
        if left < room:
            tightest, room = limit, left
    fitting = tuple(c for c in candidates if c.est_cost_nano <= room)
    if not fitting:
        needed = min(c.est_cost_nano for c in candidates)
        raise _exceeded(tightest, accounts, needed)
    return fitting, max(c.est_cost_nano for c in fitting)


def _exceeded(limit: Limit | None, accounts: Mapping[str, Account], needed: int) -> BudgetExceededError:
    if limit is None:
        return BudgetExceededError(f"the call may cost {money.display(needed)}, more than any budget can cover")
    account = accounts.get(limit.account, Account(limit.account))
    text = (
        f"{limit.label} does not cover this call: limit {money.display(limit.limit)},"
        f" spent {money.display(account.spent)}, reserved {money.display(account.reserved)},"
        f" needed {money.display(needed)}"
    )
    return BudgetExceededError.at("budget", text, limit.fix)


def settle(settlements: Iterable[Settlement], holds: Mapping[str, Hold]) -> Changes:
    """Adds each cost to the accounts of its hold, and gives back the reserved amount once.

    A hold that has ended gives nothing back: it expired, or another event of the same attempt
    settled it. The cost is still counted.
    """
    changes = Changes({}, {}, {})
    for settlement in settlements:
        hold = holds.get(settlement.reservation)
        accounts = hold.accounts if hold is not None else settlement.fallback
        back = 0
        if hold is not None and hold.state == HELD and hold.id not in changes.holds:
            back = hold.amount
            changes.holds[hold.id] = SETTLED
        changes.reserved[settlement.seq] = back
        _add(changes, accounts, settlement.cost, -back)
    return changes


def let_go(holds: Iterable[Hold], state: str) -> Changes:
    """Gives back the amounts of unused holds. state: RELEASED or EXPIRED."""
    changes = Changes({}, {}, {})
    for hold in holds:
        if hold.state == HELD and hold.id not in changes.holds:
            changes.holds[hold.id] = state
            _add(changes, hold.accounts, 0, -hold.amount)
    return changes


def _add(changes: Changes, accounts: Iterable[str], spent: int, reserved: int) -> None:
    for account in accounts:
        delta = changes.accounts.setdefault(account, Delta())
        delta.spent += spent
        delta.reserved += reserved


# --- provider health ---


class Health(NamedTuple):
    """The recent failures of a model."""

    failures: int = 0  # in a row
    until: int = 0  # end of the cool-down, ms since the epoch


def after_attempt(health: Health, ok: bool, now_ms: int) -> Health:
    """Returns the health of a model after an attempt.

    Three failures in a row start a cool-down, and each further one makes it longer. A success ends it.
    """
    if ok:
        return Health()
    failures = health.failures + 1
    over = failures - FAILURES_BEFORE_COOLDOWN
    if over < 0:
        return Health(failures, health.until)
    return Health(failures, now_ms + min(COOLDOWN_MS << min(over, 10), COOLDOWN_MS_MAX))


def reorder(
    models: Sequence[tuple[str, str]], health: Mapping[tuple[str, str], Health], now_ms: int
) -> list[tuple[str, str]]:
    """Puts models in cool-down last: they are still better than no answer."""
    return sorted(models, key=lambda model: health.get(model, Health()).until > now_ms)
