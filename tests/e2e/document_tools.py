"""The tools and functions that the documents' workflows call and don't show."""

from __future__ import annotations

from typing import Any

from agentflow_worker.registry import function, tool


@tool("bank.transfer", idempotent=True)
async def transfer(amount: float) -> dict[str, Any]:
    return {"paid": amount}


@tool("hotel.book", idempotent=True)
async def book_hotel(trip: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"hotel-{trip['to']}"}


@tool("hotel.cancel", idempotent=True)
async def cancel_hotel(booking: str) -> None: ...


@tool("flight.book", idempotent=True)
async def book_flight(trip: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"flight-{trip['to']}"}


@tool("flight.cancel", idempotent=True)
async def cancel_flight(booking: str) -> None: ...


@tool("render", idempotent=True)
async def render() -> dict[str, Any]:
    return {"frames": 24}


@tool("crm.sync", idempotent=True)
async def sync(customer: str) -> dict[str, Any]:
    return {"customer": customer}


@function("draft")
async def draft(issues: list[str]) -> dict[str, Any]:
    return {"text": "A text" + "".join(f", without {issue}" for issue in issues), "round": len(issues)}


@function("review")
async def review(text: dict[str, Any]) -> dict[str, Any]:
    done = text["round"] > 0
    return {"score": 1.0 if done else 0.5, "issues": [] if done else ["errors"]}


@function("publish")
async def publish(text: dict[str, Any]) -> dict[str, Any]:
    return {"published": text["text"]}


@function("plan")
async def plan(notes: list[str]) -> dict[str, Any]:
    return {"notes": f"note {len(notes) + 1}"}


@function("act")
async def act(notes: list[str]) -> dict[str, Any]:
    return {"done": len(notes) >= 3}


@function("split_question")
async def split_question(question: str) -> dict[str, Any]:
    tasks = [{"kind": "search", "text": word} for word in question.split()[-2:]]
    return {"tasks": [*tasks, {"kind": "sum", "numbers": [1, 2]}]}


@function("search")
async def search(query: str) -> str:
    return f"about {query}"


@function("calculate")
async def calculate(numbers: list[int]) -> int:
    return sum(numbers)


@function("compose")
async def compose(found: list[Any], words: int) -> dict[str, Any]:
    return {"answer": f"{words} words: {found}"}
