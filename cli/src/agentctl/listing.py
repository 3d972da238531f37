"""The commands that list something: how many items, where the list begins, and how to get the rest."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import typer

from agentctl.display.output import Format, Output, emit, note
from agentctl.options import flag, option
from agentctl.session import sign
from agentflow_sdk.transport.paging import Paged

T = TypeVar("T")
PAGE_MAX: Final = 1000  # what the API gives at once
LIMIT_MAX: Final = 100_000

Fetch = Callable[[int, str], Paged[T]]  # gives a page by its size and token
Listing = tuple[Fetch[T], Callable[[list[T]], Any]]  # the second makes what people see of the items
Limit = Annotated[int, typer.Option(help="How many at most.", min=1, max=LIMIT_MAX)]
All = Annotated[bool, flag("Every one, whatever --limit says.", "--all")]
PageToken = Annotated[str, option("Where an earlier list was cut.", metavar="TOKEN")]


def listed(
    limit: int, plain: Callable[[Any], Any] = lambda item: item.to_dict()
) -> Callable[[Callable[..., Listing[Any]]], Callable[..., None]]:
    """Makes a command that lists something. The function under it says how to fetch a page and how to show the items.

    limit: how many items are shown unless an option says otherwise. plain: makes the data of an item for JSON and YAML.
    """

    def decorate(command: Callable[..., Listing[Any]]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapper(*, limit: int, everything: bool, page_token: str, output: Format, **kwargs: Any) -> None:
            fetch, render = command(**kwargs)
            found, token = collect(fetch, limit, everything, page_token)
            emit([plain(item) for item in found], output, lambda: render(found))
            closing(len(found), token)

        paging = {"limit": (Limit, limit), "everything": (All, False), "page_token": (PageToken, "")}
        sign(wrapper, command, {**paging, "output": (Output, Format.TABLE)}, hidden=("client",))
        return wrapper

    return decorate


def collect(fetch: Fetch[T], limit: int, everything: bool = False, page_token: str = "") -> tuple[list[T], str]:
    """Returns (the items, the token of the items that follow or an empty text)."""
    found: list[T] = []
    while everything or len(found) < limit:
        page = fetch(PAGE_MAX if everything else min(PAGE_MAX, limit - len(found)), page_token)
        found.extend(page)
        page_token = page.next_page_token
        if not page_token:
            break
    return found, page_token


def closing(shown: int, page_token: str) -> None:
    """Says that the list was cut, and how to continue."""
    if page_token:
        note(f"{shown} shown; more: --page-token {page_token} (or --limit, --all)")
