"""One thing that is wrong with a request or a definition, as errors and answers list it."""

from __future__ import annotations

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
