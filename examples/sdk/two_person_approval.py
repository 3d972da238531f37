"""The twin of two_person_approval.yaml: a payment that two people must approve.

python examples/sdk/two_person_approval.py '{"payee": "printer", "amount": 4200}'
agentctl workflow approve <run> approve --as ann
"""

from running import run

from agentflow_sdk import Workflow

DAY_S = 86_400

flow = (
    Workflow("two_person_approval")
    .description("Books a payment once two different people have approved it")
    .input("payee", "string", description="The account that is paid")
    .input("amount", "integer", description="In cents")
    .input("approvers", "array", default=["ann", "bob", "cleo"], description="Who may approve")
    .tool("fund", "ledger.deposit", account="run-{{run}}", amount="{{amount}}")
    .approval(
        "approve",
        "Pay {{amount}} cents to {{payee}}?",
        approvers=["{{approvers}}"],
        required=2,
        expires_seconds=3 * DAY_S,
    )
    .depends_on("fund")
    .tool(
        "pay", "ledger.transfer", source="run-{{run}}", target="{{payee}}", amount="{{amount}}", memo="approved by two"
    )
    .depends_on("approve")
    .output("approved_by", "{{approve.output.decisions | map(attribute='by') | list}}")
    .output("entry", "pay.output.entry")
    .output("balance", "pay.output.balance")
)

if __name__ == "__main__":
    run(flow)
