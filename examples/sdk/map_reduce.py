"""The twin of map_reduce.yaml: summarise the pieces of a long document in parallel, and then the summaries.

python examples/sdk/map_reduce.py examples/data/vendor_review.md
"""

from running import run

from agentflow_sdk import Workflow

flow = (
    Workflow("map_reduce")
    .description("Summarises a long document piece by piece, in parallel, and then the pieces")
    .input("document_key", "string", description="A file below one of the worker's file roots")
    .input("chunk_chars", "integer", default=3000, description="Length of a piece in characters")
    .tool("ingest", "file.read", path="{{document_key}}")
    .function("split", "text_splitter", text="ingest.output.text", chunk_size="{{chunk_chars}}")
    .depends_on("ingest")
    .llm("summarise", "summarizer@1")
    .inputs(content="split.output.chunks", max_sentences=3)
    .parallel(over="content")
    .quality("Bronze")
    .retry(3)
    .depends_on("split")
    .llm("reduce", "merge_summaries@1")
    .inputs(summaries="summarise.output", max_sentences=6)
    .quality("Gold")
    .depends_on("summarise")
    .output("summary", "reduce.output.text")
    .output("pieces", "split.output.count")
    .output("parts", "summarise.output")
)

if __name__ == "__main__":
    run(flow, "document_key")
