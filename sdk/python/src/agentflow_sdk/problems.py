"""One thing that is wrong with a request or a definition, as errors and answers list it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. As a text it reads `PLACE: MESSAGE (FIX)`."""

    place: str
    """Where it stands, for example `line 12: dag.nodes[0].type`; empty if it has no place."""
    message: str
    """The description of the problem."""
    fix: str = ""
    """How to fix it; empty if there is no advice."""

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text} ({self.fix})" if self.fix else text


def error_lines(message: str, problems: Sequence[Problem], show_place: Callable[[str], str] = str) -> list[str]:
    """Returns an error as people read it: a headline, then its problems. Nothing is said twice.

    Args:
        message: The message of the error.
        problems: Its problems.
        show_place: Returns a place as it is shown.

    Returns:
        The lines. There is no headline if the message only repeats a problem.
    """
    headline = _headline(message, problems)
    shown = [str(Problem(show_place(problem.place), problem.message, problem.fix)) for problem in problems]
    first, *others = [headline, *shown] if headline or not shown else shown
    return [first, *(f"  {line}" for line in others)]


def _headline(message: str, problems: Sequence[Problem]) -> str:
    """Returns the message up to the problem that it repeats; empty if it is nothing else.

    A server puts a problem into the message, for clients that read nothing else.
    """
    for problem in (one for one in problems if one.message):
        head, found, _ = message.partition(problem.message)
        if found and (not head or head.endswith(": ")):
            return head.removesuffix(f"{problem.place}: ").split(": ", 1)[0]
    return message
