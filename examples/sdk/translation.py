"""The twin of translation.yaml: detect the language, translate into the other languages in parallel, combine.

python examples/sdk/translation.py "Thank you for your message."
"""

from running import run

from agentflow_sdk import Workflow

LANGUAGES = {"english": ("en", "English"), "german": ("de", "German"), "french": ("fr", "French")}

flow = (
    Workflow("translation")
    .description("Translates a text into English, German and French, except into its own language")
    .input("text", "string", description="The text to translate")
    .llm("detect", "language_detector@1", output="json")
    .inputs(content="{{text}}")
    .quality("Bronze")
)
for node, (code, language) in LANGUAGES.items():
    (
        flow.llm(node, "translator@1")
        .condition(f"detect.output.language != '{code}'")
        .inputs(content="{{text}}", target_language=language)
        .quality("Silver")
        .depends_on("detect")
    )
(
    flow.function(
        "combine", "result_combiner", en="english.output.text", de="german.output.text", fr="french.output.text"
    )
    .depends_on(*LANGUAGES)
    .output("language", "detect.output.language")
    .output("translations", "combine.output.results")
    .output("left_out", "combine.output.skipped")
)

if __name__ == "__main__":
    run(flow, "text")
