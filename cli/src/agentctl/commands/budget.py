"""`agentctl budget`: how much may be spent, by period and scope."""

from __future__ import annotations

from typing import Annotated

import typer

from agentctl import values
from agentctl.output import Format, Output, emit
from agentctl.session import open_client, remote

app = typer.Typer(no_args_is_help=True, help="Create and read budgets.")


@app.command()
@remote
def create(
    limit: Annotated[str, typer.Option(help="US dollars; decimals allowed: 1000 or 12.50.", show_default=False)],
    period: Annotated[str, typer.Option(help="daily, weekly, monthly or total.")] = "monthly",
    name: Annotated[str, typer.Option(help="A name to find it by.", show_default=False)] = "",
    scope: Annotated[str, typer.Option(help="org, or workflow:NAME.")] = "org",
    output: Output = Format.TABLE,
) -> None:
    """Create a budget. The limit is in US dollars."""
    from agentctl import render

    with open_client() as client:
        budget = client.budgets.create(
            limit.strip().lstrip("$").replace(",", ""), values.word(period), name=name, scope=scope
        )
    emit(budget.to_dict(), output, lambda: render.budgets([budget]))


@app.command("list")
@remote
def list_(output: Output = Format.TABLE) -> None:
    """List budgets with what is spent, reserved and left."""
    from agentctl import render

    with open_client() as client:
        budgets = client.budgets.list()
    emit([item.to_dict() for item in budgets], output, lambda: render.budgets(budgets))


@app.command()
@remote
def get(
    budget: Annotated[str, typer.Argument(help="Id or name.", show_default=False)], output: Output = Format.TABLE
) -> None:
    """Show a budget."""
    from agentctl import render

    with open_client() as client:
        item = client.budgets.get(budget)
    emit(item.to_dict(), output, lambda: render.budgets([item]))
