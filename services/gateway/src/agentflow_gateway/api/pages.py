"""Pages of lists, and the tokens by which a client continues where a page ended. Pure.

A token is opaque to clients, and is refused by another list and by the same list with other filters.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec

from agentflow_common.errors import InvalidError

Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # what the database takes for a number, and for a text
Text = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00]*\Z")]
PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_MAX: Final = 1000
_FIX: Final = "pass the token that the previous page ended with"
Kind = TypeVar("Kind")
Item = TypeVar("Item")


class Place(msgspec.Struct, frozen=True, array_like=True):
    """The last item of a page. A list is ordered by number, by name or by both."""

    kind: str  # the list
    filters: tuple[str, ...]  # what the list was asked for with
    number: Number = 0
    name: Text = ""


class Page:
    """The page of a list that a request asks for."""

    def __init__(self, request: Any, kind: str, *filters: str, default: int = PAGE_SIZE_DEFAULT) -> None:
        self._kind = kind
        self._filters = filters
        self.limit = _size(request.page_size, default)
        self.after = read(request.page_token, Place)  # None for the first page
        if self.after is not None and (self.after.kind, self.after.filters) != (kind, filters):
            raise InvalidError.at(
                "page_token",
                "the page token belongs to another list or to other filters",
                "keep the filters, or start without a token",
            )

    @property
    def after_name(self) -> str:
        """The name after which the page begins, empty for the first page of a list that is ordered by name."""
        return self.after.name if self.after is not None else ""

    def cut(self, items: Sequence[Item], place_of: Callable[[Item], tuple[int, str]]) -> tuple[Sequence[Item], str]:
        """Returns (the page, the token of the next page or empty).

        items: those after the previous page, one more than `limit` if another page follows.
        """
        if len(items) <= self.limit:
            return items, ""
        return items[: self.limit], self.token(*place_of(items[self.limit - 1]))

    def token(self, number: int = 0, name: str = "") -> str:
        """Returns the token of the page that begins after this number and name."""
        return token(Place(self._kind, self._filters, number, name))


def _size(asked: int, default: int) -> int:
    if not 0 <= asked <= PAGE_SIZE_MAX:
        fix = f"use 1 to {PAGE_SIZE_MAX}, or 0 for {default}"
        raise InvalidError.at("page_size", f"page_size {asked} is out of range", fix)
    return asked or default


def token(place: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def read(text: str, kind: type[Kind], field: str = "page_token", fix: str = _FIX) -> Kind | None:
    """Returns the place that a token stands for, None for the empty token. InvalidError if it is not such a token."""
    if not text:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise InvalidError.at(field, f"the {field.replace('_', ' ')} is not valid", fix) from None
