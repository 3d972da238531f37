"""The twin of cost_optimised.yaml: Gold only where the text asks for it.

python examples/sdk/cost_optimised.py examples/data/vendor_review.md
"""

from running import run

from agentflow_sdk import Workflow

FOCUS = "{{prepare.output.keywords | join(', ')}}"

flow = (
    Workflow("cost_optimised")
    .description("Prepares a text at Bronze, scores how hard it is, and analyses it at Bronze or at Gold")
    .input("document_key", "string", description="A file below one of the worker's file roots")
    .input("threshold", "number", default=0.8, description="From this score on a text is hard, 0 to 1")
    .tool("ingest", "file.read", path="{{document_key}}")
    .llm("prepare", "keyword_extractor@1", output="json")
    .inputs(content="ingest.output.text", max_keywords=8)
    .condition(r"ingest.output.text.matches(r'\S')")
    .quality("Bronze")
    .depends_on("ingest")
    .function("route", "complexity_router", text="ingest.output.text", threshold="{{threshold}}")
    .depends_on("ingest")
    .llm("bronze", "document_analyzer@1")
    .inputs(content="ingest.output.text", focus=FOCUS)
    .condition("prepare.status == 'completed' && !route.output.complex")
    .quality("Bronze")
    .depends_on("prepare", "route")
    .llm("gold", "document_analyzer@1")
    .inputs(content="ingest.output.text", focus=FOCUS)
    .condition("prepare.status == 'completed' && route.output.complex")
    .quality("Gold")
    .depends_on("prepare", "route")
    .function("merge", "priority_merge", priority=["gold", "bronze"], gold="gold.output", bronze="bronze.output")
    .depends_on("bronze", "gold")
    .output("analysis", "merge.output.result.text")
    .output("taken", "merge.output.source")
    .output("score", "route.output.score")
    .output("keywords", "prepare.output.keywords")
)

if __name__ == "__main__":
    run(flow, "document_key")
