"""`agentctl budget`: how much may be spent, by period and scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agentctl import values
from agentctl.display import render
from agentctl.display.output import Format, Output, emit, note
from agentctl.groups import RemoteGroup
from agentctl.listing import Listing, listed
from agentctl.options import argument, flag, option

if TYPE_CHECKING:
    from agentflow_sdk import Budget, Client

app = RemoteGroup("budget", "Create, read, change and delete budgets.")

Name = Annotated[str, argument("Id or name.", "BUDGET")]
Usd = Annotated[str, option("US dollars with a decimal point: 1000 or 12.50.")]


def _show(budget: Budget, output: Format) -> None:
    emit(budget.to_dict(), output, lambda: render.budgets([budget]))


@app.command()
def create(
    client: Client,
    limit: Usd,
    period: Annotated[str, typer.Option(help="daily, weekly, monthly or total.")] = "monthly",
    name: Annotated[str, option("A name to find it by.")] = "",
    scope: Annotated[str, typer.Option(help="org, or workflow:NAME.")] = "org",
    allow_unknown: Annotated[bool, flag("The workflow of the scope is registered later.", "--allow-unknown")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Create a budget. The limit is in US dollars."""
    budget = client.budgets.create(
        limit, values.lower(period), name=name, scope=scope, allow_unknown_workflow=allow_unknown
    )
    _show(budget, output)
    if allow_unknown and scope != "org":
        note(f"the budget takes effect once there is a workflow {scope.removeprefix('workflow:')}")


@app.command("set")
def set_(client: Client, budget: Name, limit: Usd, output: Output = Format.TABLE) -> None:
    """Change the limit of a budget. What was spent in this period stays counted."""
    item = client.budgets.set(budget, limit_usd=limit)
    _show(item, output)
    if item.spent_nano_usd >= item.limit_nano_usd:
        note(f"{item.name}: this period has spent the limit already; calls that cost money are refused")


@app.command()
def delete(client: Client, budget: Name, output: Output = Format.TABLE) -> None:
    """Delete a budget: its limit ends, and calls in progress settle as usual."""
    item = client.budgets.delete(budget)
    _show(item, output)
    note(f"budget {item.name}: deleted")


@app.command("list")
@listed(200)
def list_(client: Client) -> Listing[Budget]:
    """List budgets with what is spent, reserved and left."""
    return lambda size, at: client.budgets.list(limit=size, page_token=at), render.budgets


@app.command()
def get(client: Client, budget: Name, output: Output = Format.TABLE) -> None:
    """Show a budget."""
    _show(client.budgets.get(budget), output)
