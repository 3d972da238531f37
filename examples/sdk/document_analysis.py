"""The twin of document_analysis.yaml: three agents read one document.

python examples/sdk/document_analysis.py examples/data/vendor_review.md
"""

from running import run

from agentflow_sdk import Workflow

flow = (
    Workflow("document_analysis")
    .description("Reads a document, says what kind of text it is, analyses it and collects its key terms")
    .input(
        "document_key", "string", description="A file below one of the worker's file roots: text, Markdown, HTML or PDF"
    )
    .input("focus", "string", default="risks and decisions", description="What the analysis should attend to")
    .tool("ingest", "file.read", path="{{document_key}}")
    .llm("classify", "text_classifier@1", output="json")
    .inputs(content="ingest.output.text", labels=["incident report", "contract", "invoice", "letter", "manual"])
    .quality("Bronze")
    .sla(seconds=10)
    .depends_on("ingest")
    .llm("keywords", "keyword_extractor@1", output="json")
    .inputs(content="ingest.output.text", max_keywords=12)
    .quality("Bronze")
    .sla(seconds=10)
    .depends_on("ingest")
    .llm("analyze", "document_analyzer@1")
    .inputs(content="ingest.output.text", focus="{{focus}}")
    .quality("Gold")
    .sla(seconds=30)
    .retry(3, backoff="exponential")
    .depends_on("ingest")
    .output("document", "ingest.output.name")
    .output("pages", "ingest.output.pages")
    .output("kind", "classify.output.label")
    .output("summary", "analyze.output.text")
    .output("keywords", "keywords.output.keywords")
)

if __name__ == "__main__":
    run(flow, "document_key")
