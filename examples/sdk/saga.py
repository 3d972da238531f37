"""The twin of saga.yaml: book flight, hotel and car, or none of them.

python examples/sdk/saga.py '{"traveller": "ann", "budget": 1000}'
"""

from running import run

from agentflow_sdk import Workflow, body

flow = (
    Workflow("saga")
    .description("Books flight, hotel and car from one budget, or none of them")
    .input("traveller", "string", description="The account of the one who travels")
    .input("budget", "integer", description="What the traveller brings")
    .input("flight", "integer", default=400, description="The flight's price")
    .input("hotel", "integer", default=350, description="The hotel's price")
    .input("car", "integer", default=300, description="The car's price")
    .tool("bring", "ledger.deposit", account="{{traveller}}", amount="{{budget}}")
)
before = "bring"
for what, account in (("flight", "airline"), ("hotel", "hotel"), ("car", "rental")):
    flow.tool(
        f"book_{what}", "ledger.transfer", source="{{traveller}}", target=account, amount=f"{{{{{what}}}}}", memo=what
    ).compensate_with(body.tool("ledger.reverse", entry=f"book_{what}.output.entry")).depends_on(before)
    before = f"book_{what}"
flow.output("bookings", [f"book_{what}.output.entry" for what in ("flight", "hotel", "car")])
flow.output("left", "book_car.output.balance")

if __name__ == "__main__":
    run(flow)
