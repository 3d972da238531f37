"""Lists on the command line: how many items, from where, and what is said when there are more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from agentctl.display.output import note

if TYPE_CHECKING:
    from agentflow_sdk.transport.paging import Paged

T = TypeVar("T")
PAGE_MAX: Final = 1000  # what the API gives at once
LIMIT_MAX: Final = 100_000

Limit = Annotated[int, typer.Option(help="How many at most.", min=1, max=LIMIT_MAX)]
All = Annotated[bool, typer.Option("--all", help="Every one, whatever --limit says.")]
PageToken = Annotated[str, typer.Option(metavar="TOKEN", help="Where an earlier list was cut.", show_default=False)]


def collect(
    fetch: Callable[[int, str], Paged[T]], limit: int, everything: bool = False, page_token: str = ""
) -> tuple[list[T], str]:
    """Returns (the items, the token of what follows or empty). fetch: a page, by its size and token."""
    found: list[T] = []
    while everything or len(found) < limit:
        page = fetch(PAGE_MAX if everything else min(PAGE_MAX, limit - len(found)), page_token)
        found.extend(page)
        page_token = page.next_page_token
        if not page_token:
            break
    return found, page_token


def closing(shown: int, page_token: str) -> None:
    """Says that the list was cut, and how to go on."""
    if page_token:
        note(f"{shown} shown; more: --page-token {page_token} (or --limit, --all)")
