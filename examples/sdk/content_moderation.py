"""The twin of content_moderation.yaml: fetch a contribution, judge it, store the verdict, escalate what is not allowed.

python examples/sdk/content_moderation.py praise.txt
"""

from running import run

from agentflow_sdk import Workflow

flow = (
    Workflow("content_moderation")
    .description("Fetches a contribution, classifies it, moderates it at Gold and stores the verdict")
    .input("bucket", "string", default="file://posts", description="An S3 bucket, or a file:// one")
    .input("key", "string", description="The contribution's key in the bucket")
    .tool("fetch", "s3.fetch", bucket="{{bucket}}", key="{{key}}")
    .llm("classify", "text_classifier@1", output="json")
    .inputs(content="fetch.output.text", labels=["question", "complaint", "praise", "advertisement", "insult"])
    .quality("Bronze")
    .depends_on("fetch")
    .llm("moderate", "content_moderator@1", output="json")
    .inputs(content="fetch.output.text")
    .quality("Gold")
    .sla(seconds=15)
    .retry(3)
    .depends_on("fetch")
    .tool(
        "store",
        "s3.put",
        bucket="{{bucket}}",
        key="verdicts/{{key}}.txt",
        content="{{key}}: {{moderate.output.decision}} ({{classify.output.label}})",
    )
    .depends_on("classify", "moderate")
    .tool(
        "escalate",
        "s3.put",
        bucket="{{bucket}}",
        key="escalated/{{key}}.txt",
        content="{{key}} was not allowed: {{moderate.output.text}}",
    )
    .edge("moderate", "escalate", condition="moderate.output.decision != 'allow'")
    .output("decision", "moderate.output.decision")
    .output("topic", "classify.output.label")
    .output("stored", "store.output.key")
    .output("escalated", "escalate.output.key")
)

if __name__ == "__main__":
    run(flow, "key")
