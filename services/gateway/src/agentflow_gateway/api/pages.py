"""Tokens by which a client continues where a page ended: opaque, and of no use with other filters. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec

from agentflow_common.errors import InvalidError, Problem

At = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # what the database takes for a number, and for a text
Text = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00]*\Z")]
_FIX: Final = "pass `next_page_token` of the previous page"
PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_MAX: Final = 1000
Place = TypeVar("Place")
Item = TypeVar("Item")


class RunPlace(msgspec.Struct, frozen=True, array_like=True):
    """The last row of a page of runs, and the filters that it belongs to."""

    submitted_at: At
    run: Text
    status: str
    workflow: str


class TracePlace(msgspec.Struct, frozen=True, array_like=True):
    """The last trace of a page, and the filters that it belongs to."""

    submitted_at: At
    run: Text
    filters: tuple[str, ...]


class LanePlace(msgspec.Struct, frozen=True, array_like=True):
    """The last lane of a page; see lanes.Place."""

    kind: str
    section: At
    name: Text


class NamePlace(msgspec.Struct, frozen=True, array_like=True):
    """The last name of a page of a list that is ordered by name. kind: which list; filters: what it was made with."""

    kind: str
    name: Text
    filters: tuple[str, ...] = ()


def page_size(asked: int, default: int = PAGE_SIZE_DEFAULT) -> int:
    """Returns the number of items on a page. asked: 0 for the default."""
    if not 0 <= asked <= PAGE_SIZE_MAX:
        fix = f"use 1 to {PAGE_SIZE_MAX}, or 0 for {default}"
        raise InvalidError.at("page_size", f"page_size {asked} is out of range", fix)
    return asked or default


def token(place: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def read(text: str, kind: type[Place], field: str = "page_token", fix: str = _FIX) -> Place | None:
    """The place that a token names; None for the empty one. InvalidError for a token that is not of this list."""
    if not text:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise _not_ours(field, fix) from None


def _not_ours(field: str, fix: str) -> InvalidError:
    what = field.replace("_", " ")
    return InvalidError(f"the {what} is not valid", problems=(Problem(field, "not one of ours", fix),))


def after_name(kind: str, page_token: str, filters: tuple[str, ...] = ()) -> str:
    """The name after which the next page begins; empty for the first one."""
    place = read(page_token, NamePlace)
    if place is None:
        return ""
    check_filters((place.kind, *place.filters), (kind, *filters))
    return place.name


def after_number(kind: str, page_token: str, filters: tuple[str, ...] = ()) -> int | None:
    """The same for a list that is ordered by a number; None for its first page."""
    name = after_name(kind, page_token, filters)
    if name and not (name.isascii() and name.isdigit() and len(name) <= 18):
        raise _not_ours("page_token", _FIX)
    return int(name) if name else None


def cut(
    kind: str, found: Sequence[Item], limit: int, name_of: Callable[[Item], str], filters: tuple[str, ...] = ()
) -> tuple[Sequence[Item], str]:
    """(the page, the token of the next one or empty). found: what comes after the token, by name, one more than
    `limit` if there is more."""
    if len(found) <= limit:
        return found, ""
    return found[:limit], token(NamePlace(kind, name_of(found[limit - 1]), filters))


def check_filters(made_with: tuple[str, ...], now: tuple[str, ...]) -> None:
    """InvalidError if the token is of another query."""
    if made_with != now:
        raise InvalidError(
            "the page token belongs to another list or to other filters",
            problems=(Problem("page_token", "made with other filters", "keep the filters, or start without a token"),),
        )
