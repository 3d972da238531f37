"""Prices of models: first the overrides of models.yaml, then the package genai-prices.

A price is never a guess and never zero.

Importing genai-prices takes about a third of a second and 70 MB (measured with 0.2.3). It happens
on a thread, when the first call of a model without an override needs it. A stack that has only
`local` models never pays for it.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from agentflow_common import hints, money, package_files
from agentflow_common.errors import UnknownPriceError
from agentflow_cost.machine import TIERS, Model, Price, Rate

QUOTE_MS: Final = 60_000  # prices can depend on the date and the hour: a quote is looked up again after a minute
QUOTES_MAX: Final = 2048
_NEAR_MAX: Final = 3
_NEAR_TRIED: Final = 8  # names that are written alike, before those without a price are left out
_OWN: Final = frozenset({"local", "sim"})  # providers whose prices stand in models.yaml alone


class PriceLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price in USD for 10^6 model tokens, as decimal text."""

    input: str
    output: str


class ModelLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    provider: str
    model: str
    tiers: tuple[str, ...] = ()
    price: PriceLine | None = None
    nominal: bool = False


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of models.yaml."""

    models: tuple[ModelLine, ...]
    prices: dict[str, PriceLine] = {}

    def choices(self) -> tuple[Model, ...]:
        return tuple(Model(m.provider, m.model, m.tiers) for m in self.models)

    def overrides(self) -> dict[str, Price]:
        own = {f"{m.provider}/{m.model}": _flat(m.price) for m in self.models if m.price is not None}
        return {**{name: _flat(line) for name, line in self.prices.items()}, **own}


def _flat(line: PriceLine) -> Price:
    return Price((Rate(0, money.from_usd(line.input), money.from_usd(line.output)),))


def load(file: Path | None) -> Catalogue:
    """Reads a catalogue. Raises ValueError, which names the file, for any other content."""
    import yaml

    path = file or package_files.find(__file__, "models.yaml")
    try:
        catalogue = msgspec.convert(yaml.safe_load(path.read_text()), Catalogue)
        overrides = catalogue.overrides()
    except (OSError, yaml.YAMLError, msgspec.ValidationError, ArithmeticError) as error:
        raise ValueError(f"{path}: {error}; see services/cost/models.yaml for the shape") from error
    wrong = [m.model for m in catalogue.models if not set(m.tiers) <= set(TIERS)]
    wrong += [name for name, price in overrides.items() if min(price.rates[0][1:]) < 0]
    if wrong:
        raise ValueError(f"{path}: {', '.join(wrong)}: tiers are {', '.join(TIERS)}, prices are not negative")
    return catalogue


class PriceBook:
    """Quotes prices. Await `ready()` before `quote()` for models without an override."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._overrides = catalogue.overrides()
        self._choices = [f"{model.provider}/{model.model}" for model in catalogue.choices()]
        self._quotes: dict[tuple[str, str], tuple[int, Price]] = {}
        self._snapshot: Any = None
        self._loading: asyncio.Future[Any] | None = None

    def is_own(self, provider: str, model: str) -> bool:
        """Returns True if the list of genai-prices has nothing to say about the model."""
        return provider in _OWN or self.override(provider, model) is not None

    def override(self, provider: str, model: str) -> Price | None:
        return self._overrides.get(f"{provider}/{model}") or self._overrides.get(f"{provider}/*")

    async def ready(self) -> None:
        """Imports genai-prices on a thread, once."""
        if self._snapshot is not None:
            return
        if self._loading is None:
            self._loading = asyncio.ensure_future(asyncio.to_thread(_snapshot))
        try:
            self._snapshot = await asyncio.shield(self._loading)
        except Exception:
            self._loading = None
            raise

    def quote(self, provider: str, model: str, now_ms: int) -> Price:
        """Returns the price of a model. Raises UnknownPriceError."""
        own = self.override(provider, model)
        if own is not None:
            return own
        key = (provider, model)
        known = self._quotes.get(key)
        if known is not None and known[0] > now_ms:
            return known[1]
        price = self._look_up(provider, model, now_ms)
        if len(self._quotes) >= QUOTES_MAX:
            self._quotes.clear()
        self._quotes[key] = (now_ms + QUOTE_MS, price)
        return price

    def near(self, provider: str, model: str, now_ms: int) -> tuple[str, ...]:
        """Returns names of models with a known price that are written nearly like this one, the closest first."""
        own = [name for name in self._overrides if not name.endswith("/*")]
        listed = self._snapshot.providers if self._snapshot is not None else ()
        models = {item.id: [f"{item.id}/{found.id}" for found in item.models] for item in listed}
        named = {name.partition("/")[0] for name in own} | {name.partition("/")[0] for name in self._choices}
        meant = hints.near(provider, sorted(named | models.keys()), cutoff=0.7)
        likely = f"{meant[0]}/{model}" if meant else f"{provider}/{model}"
        known = [*models.get(likely.partition("/")[0], ()), *own, *self._choices]
        close = hints.near(likely, dict.fromkeys([likely, *known]), most=_NEAR_TRIED, cutoff=0.7)
        return tuple([name for name in close if self._has_price(name, now_ms)][:_NEAR_MAX])

    def _has_price(self, name: str, now_ms: int) -> bool:
        provider, _, model = name.partition("/")
        try:
            self.quote(provider, model, now_ms)
        except UnknownPriceError:
            return False
        return True

    def _look_up(self, provider: str, model: str, now_ms: int) -> Price:
        if provider in _OWN or self._snapshot is None:
            raise unknown(provider, model)
        try:
            _, info = self._snapshot.find_provider_model(model, None, provider, None)
        except LookupError:
            raise unknown(provider, model) from None
        prices = info.get_prices(datetime.fromtimestamp(now_ms / 1000, UTC))
        if getattr(prices, "requests_kcount", None):  # a price by tokens can't include a fee for each request
            raise unknown(provider, model)
        price = from_parts(getattr(prices, "input_mtok", None), getattr(prices, "output_mtok", None))
        if price is None:
            raise unknown(provider, model)
        return price


def from_parts(input_mtok: Any, output_mtok: Any) -> Price | None:
    """Converts a price of genai-prices (a decimal, or tiers by input tokens).

    Returns None if a part is missing or everything is zero.
    """
    steps_in, steps_out = _steps(input_mtok), _steps(output_mtok)
    if not steps_in or not steps_out:
        return None
    starts = sorted({start for start, _ in (*steps_in, *steps_out)})
    rates = tuple(Rate(s, money.from_usd(_at(steps_in, s)), money.from_usd(_at(steps_out, s))) for s in starts)
    if not any(rate.input_nano or rate.output_nano for rate in rates):
        return None
    return Price(rates)


def _steps(part: Any) -> list[tuple[int, Decimal]]:
    if part is None:
        return []
    if isinstance(part, Decimal | int):
        return [(0, Decimal(part))]
    return sorted([(0, part.base), *((tier.start, tier.price) for tier in part.tiers)])


def _at(steps: list[tuple[int, Decimal]], start: int) -> Decimal:
    return next(value for begin, value in reversed(steps) if begin <= start)


def unknown(provider: str, model: str) -> UnknownPriceError:
    name = f"{provider}/{model}"
    fix = "correct the model's name, or give it a price in the file that AGENTFLOW_MODELS_FILE names"
    return UnknownPriceError.at("model", f"no price is known for {name}, so the call is refused", fix)


def _snapshot() -> Any:
    from genai_prices import data_snapshot

    return data_snapshot.get_snapshot()
