"""A chain of runs is one watch of the SDK, shown run by run."""

from __future__ import annotations

from typing import Any

import pytest

from agentctl.display import live
from agentflow_sdk import RunEvent, Token


class Client:
    """A client whose watch yields these items."""

    def __init__(self, *items: RunEvent | Token) -> None:
        self.items = items
        self.asked: list[dict[str, Any]] = []

    @property
    def workflows(self) -> Client:
        return self

    def watch(self, run_id: str, **how: Any) -> Any:
        self.asked.append({"run_id": run_id, **how})
        yield from self.items


def event(sequence: int, kind: str, run: str = "", **body: Any) -> RunEvent:
    return RunEvent(sequence=sequence, type=kind, ts=sequence, body=body, run_id=run)


def test_each_run_has_a_view_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    client: Any = Client(
        event(1, "run.started", "run_a", workflow="w", steps=1),
        event(2, "run.completed", "run_a", continued_as="run_b"),
        Token("s", 1, 0, "x"),
        event(3, "run.started", "run_b", workflow="w", steps=1),
        event(4, "run.completed", "run_b"),
    )
    seen: list[tuple[str, int]] = []
    view = live.follow(client, "run_a", chain=True, on_event=lambda item: seen.append((item.run_id, item.sequence)))
    assert client.asked == [{"run_id": "run_a", "tokens": False, "chain": True}]
    assert seen == [("run_a", 1), ("run_a", 2), ("run_b", 3), ("run_b", 4)]
    assert view.run_id == "run_b"
    assert capsys.readouterr().err == "run run_a goes on as run_b\n"


def test_events_that_name_no_run_are_of_the_one_that_was_asked_for() -> None:
    client: Any = Client(event(1, "run.started", workflow="w", steps=1), event(2, "run.completed"))
    seen: list[str] = []
    view = live.follow(client, "run_a", on_event=lambda item: seen.append(item.run_id))
    assert (seen, view.run_id, client.asked[0]["chain"]) == (["run_a", "run_a"], "run_a", False)
