"""`agentctl budget`: how much may be spent, by period and scope."""

from __future__ import annotations

from typing import Annotated

import typer

from agentctl import values
from agentctl.display import paging
from agentctl.display.output import Format, Output, emit, note
from agentctl.session import open_client, remote

app = typer.Typer(no_args_is_help=True, help="Create, read, change and delete budgets.")

Budget = Annotated[str, typer.Argument(metavar="BUDGET", help="Id or name.", show_default=False)]
Usd = typer.Option(help="US dollars with a decimal point: 1000 or 12.50.", show_default=False)


@app.command()
@remote
def create(
    limit: Annotated[str, Usd],
    period: Annotated[str, typer.Option(help="daily, weekly, monthly or total.")] = "monthly",
    name: Annotated[str, typer.Option(help="A name to find it by.", show_default=False)] = "",
    scope: Annotated[str, typer.Option(help="org, or workflow:NAME.")] = "org",
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="The workflow of the scope is registered later.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Create a budget. The limit is in US dollars."""
    from agentctl.display import render

    with open_client() as client:
        budget = client.budgets.create(
            limit, values.word(period), name=name, scope=scope, allow_unknown_workflow=allow_unknown
        )
    emit(budget.to_dict(), output, lambda: render.budgets([budget]))
    if allow_unknown and scope != "org":
        note(f"the budget limits {scope.removeprefix('workflow:')} once a workflow of that name is there")


@app.command("set")
@remote
def set_(budget: Budget, limit: Annotated[str, Usd], output: Output = Format.TABLE) -> None:
    """Change the limit of a budget. What was spent in this period stays counted."""
    from agentctl.display import render

    with open_client() as client:
        item = client.budgets.set(budget, limit_usd=limit)
    emit(item.to_dict(), output, lambda: render.budgets([item]))
    if item.spent_nano_usd >= item.limit_nano_usd:
        note(f"{item.name}: this period has spent the limit already; calls that cost money are refused")


@app.command()
@remote
def delete(budget: Budget, output: Output = Format.TABLE) -> None:
    """Delete a budget: its limit ends, and calls under way settle as usual."""
    from agentctl.display import render

    with open_client() as client:
        item = client.budgets.delete(budget)
    emit(item.to_dict(), output, lambda: render.budgets([item]))
    note(f"budget {item.name}: deleted")


@app.command("list")
@remote
def list_(
    limit: paging.Limit = 200,
    everything: paging.All = False,
    page_token: paging.PageToken = "",
    output: Output = Format.TABLE,
) -> None:
    """List budgets with what is spent, reserved and left."""
    from agentctl.display import render

    with open_client() as client:
        found, token = paging.collect(
            lambda size, at: client.budgets.list(limit=size, page_token=at), limit, everything, page_token
        )
    emit([item.to_dict() for item in found], output, lambda: render.budgets(found))
    paging.closing(len(found), token)


@app.command()
@remote
def get(budget: Budget, output: Output = Format.TABLE) -> None:
    """Show a budget."""
    from agentctl.display import render

    with open_client() as client:
        item = client.budgets.get(budget)
    emit(item.to_dict(), output, lambda: render.budgets([item]))
