"""`agentctl trace explain`: why a run ended as it did, why it took so long, and why it cost so much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from agentctl import runs
from agentctl.display.output import Format, Output, emit, stdout
from agentctl.display.traces import explanation
from agentctl.groups import RemoteGroup
from agentctl.options import flag
from agentctl.runs import RunId

if TYPE_CHECKING:
    from agentflow_sdk import Client


def explain(
    client: Client,
    run: RunId,
    slow: Annotated[bool, flag("Also where the time went, against earlier runs.", "--slow")] = False,
    cost: Annotated[bool, flag("Also where the money went, against earlier runs.", "--cost")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Explain why a run failed, was cancelled or has not ended: the causes with their evidence, and what to do."""
    found = client.traces.explain(runs.find(client, run), slow=slow, cost=cost)

    def render() -> None:
        console = stdout()
        for part in explanation.parts(found):
            console.print(part)

    emit(found.to_dict(), output, render)


def add_to(app: RemoteGroup) -> None:
    """Adds the command to the group."""
    app.command()(explain)
