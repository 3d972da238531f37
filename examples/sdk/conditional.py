"""The twin of conditional.yaml: classify what comes in, take the branch that suits it, merge.

python examples/sdk/conditional.py "harbour.jpg: photograph of three boats at dusk"
"""

from running import run

from agentflow_sdk import Workflow

flow = (
    Workflow("conditional")
    .description("Classifies what comes in, handles text and images differently, and merges what was found")
    .input(
        "content",
        "string",
        description="A text, or what is known of an image: file name, caption, recognised words",
    )
    .llm("classify", "text_classifier@1", output="json")
    .inputs(content="{{content}}", labels=["text", "image"])
    .quality("Bronze")
    .llm("analyze_text", "summarizer@1")
    .condition("classify.output.label == 'text'")
    .inputs(content="{{content}}", max_sentences=2)
    .quality("Silver")
    .depends_on("classify")
    .llm("describe_image", "image_describer@1")
    .condition("classify.output.label == 'image'")
    .inputs(content="{{content}}")
    .quality("Silver")
    .depends_on("classify")
    .function("merge", "result_merger", text="analyze_text.output.text", image="describe_image.output.text")
    .depends_on("analyze_text", "describe_image")
    .output("kind", "classify.output.label")
    .output("result", "merge.output.text")
)

if __name__ == "__main__":
    run(flow, "content")
