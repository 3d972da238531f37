"""The verbs of the cost service: decode, load, decide, append."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from agentflow_common import events, ids, rpc, subjects
from agentflow_common.clock import Clock
from agentflow_common.errors import (
    BudgetExceededError,
    InvalidError,
    TerminalError,
    UnknownPriceError,
)
from agentflow_common.log.event_log import EventLog
from agentflow_common.rpc import Budget, Candidate, RouteReply, RouteRequest
from agentflow_common.rpc.bus import Route
from agentflow_cost import budgets, machine
from agentflow_cost.machine import Health, Model
from agentflow_cost.prices import PriceBook
from agentflow_cost.store import Reservation, Store

log = logging.getLogger(__name__)

CACHE_KEY_CHARS_MAX: Final = 512
CACHE_VALUE_BYTES_MAX: Final = 1024 * 1024
CACHE_ROWS_MAX: Final = 5_000  # of one org
CACHE_BYTES_MAX: Final = 64 * 1024 * 1024
CACHE_TTL_S_MAX: Final = 30 * 24 * 3600
WORKFLOWS_MAX: Final = 4096
MODELS_MAX: Final = 1_000  # of one question

HealthBook = dict[tuple[str, str], Health]


class Handlers:
    """Answers the questions of the cost service. There is one in each process.

    health: shared with the settler, which updates it from the reports of calls.
    """

    def __init__(
        self,
        store: Store,
        book: PriceBook,
        models: Sequence[Model],
        health: HealthBook,
        event_log: EventLog,
        clock: Clock,
    ) -> None:
        self._store = store
        self._book = book
        self._models = models
        self._health = health
        self._log = event_log
        self._clock = clock
        self._workflows: OrderedDict[tuple[str, str], str] = OrderedDict()

    def routes(self) -> list[Route]:
        return [
            (rpc.COST_ROUTE, self.route),
            (rpc.COST_CHECK_MODELS, self.check_models),
            (rpc.COST_CACHE_PUT, self.cache_put),
        ]

    # --- routing ---

    async def route(self, request: RouteRequest) -> RouteReply:
        ids.check_owner(request.org, request.run)
        machine.check_request(request)
        if request.cache_key:
            _check_key(request.cache_key)
            value = await self._store.cached(request.org, request.cache_key, self._clock.now_ms())
            if value is not None:
                return RouteReply(reservation="", reserved_nano=0, candidates=(), cached=msgspec.json.decode(value))
        candidates = await self._candidates(request)
        try:
            reservation = await self._reserve(request, candidates)
        except BudgetExceededError:
            # reservations that others never used may block this one, and their time may be over
            if not await self._store.expire(self._clock.now_ms()):
                raise
            reservation = await self._reserve(request, candidates)
        return RouteReply(
            reservation=reservation.id, reserved_nano=reservation.amount, candidates=reservation.candidates
        )

    async def check_models(self, request: rpc.CheckModelsRequest) -> rpc.CheckModelsReply:
        """Returns the models whose calls would be refused because no price is known."""
        if len(request.models) > MODELS_MAX:
            fix = f"ask about at most {MODELS_MAX:,} at a time"
            raise InvalidError.at("models", f"{len(request.models):,} models", fix, kind="too_large")
        now = self._clock.now_ms()
        named = [(provider, model) for provider, _, model in (name.partition("/") for name in request.models)]
        if not all(self._book.is_own(*pair) for pair in named):
            await self._book.ready()
        unknown = []
        for provider, model in dict.fromkeys(named):
            try:
                self._book.quote(provider, model, now)
            except UnknownPriceError:
                near = self._book.near(provider, model, now)
                unknown.append(rpc.UnknownModel(model=f"{provider}/{model}", near=near))
        return rpc.CheckModelsReply(unknown=tuple(unknown))

    async def _candidates(self, request: RouteRequest) -> tuple[Candidate, ...]:
        """Returns the candidates, best first. A model without a known price is left out.

        Refuses the call if no model of the tier has a price.
        """
        now = self._clock.now_ms()
        wanted = machine.reorder(machine.wanted(request, self._models), self._health, now)
        if any(self._book.override(provider, model) is None for provider, model in wanted):
            await self._book.ready()
        found: list[Candidate] = []
        refusal: UnknownPriceError | None = None
        for provider, model in wanted:
            try:
                price = self._book.quote(provider, model, now)
            except UnknownPriceError as error:
                refusal = error
                log.warning(
                    "the model has no known price: it is not a candidate", extra={"provider": provider, "model": model}
                )
                continue
            found.append(machine.candidate(provider, model, price, request))
        if not found and refusal is not None:
            raise refusal
        return tuple(found)

    async def _reserve(self, request: RouteRequest, candidates: tuple[Candidate, ...]) -> Reservation:
        now = self._clock.now_ms()
        name = ids.reservation_id(request.org, request.run, request.step, request.attempt)
        async with self._store.transaction() as transaction:
            known = await transaction.budgets(request.org)
            workflow = await self._workflow(request, known)
            covered = (known, workflow, now)
            names = budgets.accounts_for(request.org, request.run, *covered)
            accounts = await transaction.lock_accounts(names, now)
            held = await transaction.held(name)
            if held is not None:
                return held
            if accounts[budgets.run_account(request.org, request.run)].ended:
                text = f"run {request.run} has ended, so nothing is reserved for it"
                raise TerminalError.at("run", text, "submit a new run", kind="run_ended")
            limits = budgets.limits_for(request.org, request.run, request.run_budget_nano, *covered)
            fitting, amount = machine.admit(candidates, limits, accounts)
            reservation = Reservation(name, amount, fitting)
            await transaction.hold(request, reservation, names, now + machine.RESERVATION_MS)
            return reservation

    async def _workflow(self, request: RouteRequest, known: Sequence[Budget]) -> str:
        """Returns the run's workflow if a budget needs it: from the request, or else from the log."""
        if request.workflow or not any(budget.scope.startswith(budgets.WORKFLOW) for budget in known):
            return request.workflow
        key = (request.org, request.run)
        if key not in self._workflows:
            stored = await self._log.read(subjects.run_in(subjects.key_of(*key)), limit=1)
            first = events.decode(stored[0].data) if stored else None
            self._workflows[key] = first.workflow if isinstance(first, events.RunSubmitted) else ""
            if len(self._workflows) > WORKFLOWS_MAX:
                self._workflows.popitem(last=False)
        return self._workflows[key]

    # --- responses ---

    async def cache_put(self, request: rpc.CachePutRequest) -> rpc.Empty:
        ids.check_token(request.org, "org")
        _check_key(request.cache_key)
        value = msgspec.json.encode(request.value)
        if len(value) > CACHE_VALUE_BYTES_MAX:
            fix = f"cache at most {CACHE_VALUE_BYTES_MAX:,}"
            raise InvalidError.at("value", f"the response is {len(value):,} bytes", fix, kind="too_large")
        if not 0 < request.ttl_s <= CACHE_TTL_S_MAX:
            raise InvalidError.at("ttl_s", "the time to live is out of range", f"use 1 to {CACHE_TTL_S_MAX:,} seconds")
        await self._store.cache(
            request.org, request.cache_key, value, self._clock.now_ms(), request.ttl_s * 1000,
            rows_max=CACHE_ROWS_MAX, bytes_max=CACHE_BYTES_MAX,
        )  # fmt: skip
        return rpc.Empty()


def _check_key(key: str) -> None:
    if not 0 < len(key) <= CACHE_KEY_CHARS_MAX or "\x00" in key:
        raise InvalidError.at("cache_key", "the cache key is not valid", f"use 1 to {CACHE_KEY_CHARS_MAX} characters")
