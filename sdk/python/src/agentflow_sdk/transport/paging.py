"""All items of a list, page by page, for both clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Paged(Protocol[T_co]):
    """What a list method returns: a page that says where the next one begins."""

    @property
    def next_page_token(self) -> str: ...

    def __iter__(self) -> Iterator[T_co]: ...


def each(method: Callable[P, Paged[T]], *args: P.args, **options: P.kwargs) -> Iterator[T]:
    """Yields every item of a list, over all of its pages: `each(client.workflows.list, status="failed")`.

    options: those of the method; `limit` is the size of a page, `page_token` where to begin.
    """
    given: dict[str, Any] = dict(options)
    while True:
        page = method(*args, **given)
        yield from page
        if not page.next_page_token:
            return
        given["page_token"] = page.next_page_token


async def each_async(method: Callable[P, Awaitable[Paged[T]]], *args: P.args, **options: P.kwargs) -> AsyncIterator[T]:
    """Yields what `each` does, for a method of `AsyncClient`: `async for run in each_async(client.workflows.list)`."""
    given: dict[str, Any] = dict(options)
    while True:
        page = await method(*args, **given)
        for item in page:
            yield item
        if not page.next_page_token:
            return
        given["page_token"] = page.next_page_token
