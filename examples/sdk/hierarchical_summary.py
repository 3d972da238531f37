"""The twin of hierarchical_summary.yaml: pieces, groups of their summaries, one summary, refined until it is short.

python examples/sdk/hierarchical_summary.py examples/data/vendor_review.md
"""

from running import run

from agentflow_sdk import Workflow, body

flow = (
    Workflow("hierarchical_summary")
    .description(
        "Summarises the pieces of a document, then groups of summaries, and refines the whole until it is short enough"
    )
    .input("document_key", "string", description="A file below one of the worker's file roots")
    .input("chunk_chars", "integer", default=2000, description="Length of a piece in characters")
    .input("max_chars", "integer", default=600, description="How long the summary may be in characters")
    .tool("ingest", "file.read", path="{{document_key}}")
    .function("split", "text_splitter", text="ingest.output.text", chunk_size="{{chunk_chars}}")
    .depends_on("ingest")
    .map(
        "summarise",
        body.llm("summarizer@1", content="{{item}}", max_sentences=3),
        over="split.output.chunks",
        concurrency=4,
    )
    .quality("Bronze")
    .retry(3)
    .depends_on("split")
    .function("join", "text_join", items="summarise.output")
    .depends_on("summarise")
    .function("regroup", "text_splitter", text="join.output.text", chunk_size="{{chunk_chars}}")
    .depends_on("join")
    .map(
        "condense",
        body.llm("summarizer@1", content="{{item}}", max_sentences=5),
        over="regroup.output.chunks",
        concurrency=4,
    )
    .quality("Silver")
    .retry(3)
    .depends_on("regroup")
    .llm("merge", "merge_summaries@1")
    .inputs(summaries="condense.output", max_sentences=12)
    .condition("size(split.output.chunks) > 0")
    .quality("Gold")
    .depends_on("condense")
    .loop(
        "refine",
        body.llm(
            "refiner@1",
            content="{{previous.text if previous else merge.output.text}}",
            max_words="{{[5, max_chars // (5 + iteration)] | max}}",
        ),
        until="size(previous.text) <= inputs.max_chars",
        max_iterations=5,
    )
    .condition("size(merge.output.text) > inputs.max_chars")
    .quality("Silver")
    .depends_on("merge")
    .output("summary", "{{(refine.output or merge.output or {'text': ''}).text}}")
    .output("pieces", "split.output.count")
    .output("groups", "regroup.output.count")
)

if __name__ == "__main__":
    run(flow, "document_key")
