"""All items of a list, page by page, for both clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Paged(Protocol[T_co]):
    """A page of a list that says where the next one begins, as the list methods return it."""

    @property
    def next_page_token(self) -> str: ...

    def __iter__(self) -> Iterator[T_co]: ...


def each(method: Callable[P, Paged[T]], *args: P.args, **options: P.kwargs) -> Iterator[T]:
    """Returns every item of a list, over all of its pages: `each(client.workflows.list, status="failed")`.

    Args:
        method: A list method of `Client`.
        args: Its positional arguments.
        options: Its options. `limit` is the size of a page, and `page_token` where to begin.

    Returns:
        An iterator over the items. It asks for a page when the one before is used up.

    Raises:
        AgentFlowError: Anything that the method raises.
    """
    given: dict[str, Any] = dict(options)
    while True:
        page = method(*args, **given)
        yield from page
        if not page.next_page_token:
            return
        given["page_token"] = page.next_page_token


async def each_async(method: Callable[P, Awaitable[Paged[T]]], *args: P.args, **options: P.kwargs) -> AsyncIterator[T]:
    """Returns every item of a list, over all of its pages: `async for run in each_async(client.workflows.list)`.

    Args:
        method: A list method of `AsyncClient`.
        args: Its positional arguments.
        options: Its options. `limit` is the size of a page, and `page_token` where to begin.

    Returns:
        An async iterator over the items. It asks for a page when the one before is used up.

    Raises:
        AgentFlowError: Anything that the method raises.
    """
    given: dict[str, Any] = dict(options)
    while True:
        page = await method(*args, **given)
        for item in page:
            yield item
        if not page.next_page_token:
            return
        given["page_token"] = page.next_page_token
