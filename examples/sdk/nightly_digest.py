"""The twin of nightly_digest.yaml, and its schedule: sum a document up every night and keep one digest a day.

python examples/sdk/nightly_digest.py vendor_review.md
"""

import sys

from agentflow_sdk import Client, Workflow

flow = (
    Workflow("nightly_digest")
    .description("Sums a document up and keeps one digest a day")
    .input("document_key", "string", description="A file below one of the worker's file roots")
    .input("day", "string", description="The day of the digest (2030-12-24)")
    .tool("ingest", "file.read", path="{{document_key}}")
    .llm("sum_up", "summarizer@1")
    .inputs(content="ingest.output.text", max_sentences=3)
    .quality("Bronze")
    .retry(3)
    .depends_on("ingest")
    .tool("store", "s3.put", bucket="file://posts", key="digests/{{day}}.txt", content="sum_up.output.text")
    .depends_on("sum_up")
    .output("digest", "sum_up.output.text")
    .output("stored", "store.output.key")
)


def main(document_key: str) -> None:
    """Registers the workflow, and starts it by a schedule from now on."""
    with Client() as client:
        client.workflows.register(flow)
        made = client.schedules.create(
            {
                "name": "nightly_digest_sdk",
                "workflow": "nightly_digest",
                "cron": "30 2 * * *",
                "time_zone": "Europe/Berlin",
                "inputs": {"document_key": document_key, "day": "{{schedule.date}}"},
            }
        )
        print("next:", made.schedule.next_times[0])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python {sys.argv[0]} <document_key>")
    main(sys.argv[1])
