"""What the SDK examples share: submit, watch, print. The stack that runs here, or AGENTFLOW_ENDPOINT."""

import json
import sys

from agentflow_sdk import Client, RunEvent, Workflow


def run(flow: Workflow, argument: str = "") -> None:
    """Runs the workflow with the command line's word as the input `argument`, or as all inputs in JSON; exits with 0 if
    it completed."""
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python {sys.argv[0]} <{argument or 'inputs as JSON'}>")
    inputs = {argument: sys.argv[1]} if argument else json.loads(sys.argv[1])
    with Client() as client:
        submission = client.workflows.submit(flow, inputs)
        for item in client.workflows.watch(submission):
            if isinstance(item, RunEvent):
                print(f"{item.steps_done}/{item.steps_total} {item.type} {item.step}", file=sys.stderr)
        result = client.workflows.get(submission).raise_for_status()
        print(json.dumps(result.output, indent=2, ensure_ascii=False))
        print(f"cost: {result.cost_usd} USD; redacted: {result.redactions or 'nothing'}", file=sys.stderr)
