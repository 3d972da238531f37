"""The base of all answers: plain data with `to_dict()`, and pages of lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, Self, TypeVar

from agentflow_sdk.models.money import usd
from agentflow_sdk.problems import Problem

T = TypeVar("T")


class Page(tuple[T, ...]):
    """A page of a list: a tuple of the items that knows where the next page begins.

    Args:
        items: The items of the page.
        next_page_token: The `page_token` of the next page; empty on the last page.
    """

    next_page_token: str
    """The `page_token` of the next page; empty on the last page."""

    def __new__(cls, items: Iterable[T] = (), next_page_token: str = "") -> Self:
        page = super().__new__(cls, items)
        page.next_page_token = next_page_token
        return page


class Record:
    """Base of the answers."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain data that can be written as JSON."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}  # type: ignore[arg-type]


class RecordPage(Record, Generic[T]):
    """Base of the pages that are records. Iterating over one gives the items in its first field."""

    __slots__ = ()

    def _items(self) -> tuple[T, ...]:
        items: tuple[T, ...] = getattr(self, fields(self)[0].name)  # type: ignore[arg-type]
        return items

    def __iter__(self) -> Iterator[T]:
        return iter(self._items())

    def __len__(self) -> int:
        return len(self._items())


class Priced(Record):
    """Base of the answers that have a cost."""

    __slots__ = ()
    cost_nano_usd: int

    @property
    def cost_usd(self) -> Decimal:
        """The cost as exact US dollars."""
        return usd(self.cost_nano_usd)


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Problem):
        return {"place": value.place, "message": value.message, "fix": value.fix}
    return value
