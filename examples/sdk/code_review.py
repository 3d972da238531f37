"""The twin of code_review.yaml: a review that repeats until the code is good enough.

python examples/sdk/code_review.py examples/data/orders.py
"""

from running import run

from agentflow_sdk import Workflow

ENOUGH = "state.quality_score >= state.quality_threshold || state.fixable == 0 || state.round >= 3"
MORE = "state.quality_score < state.quality_threshold && state.fixable > 0"
SCORE = {"type": "number", "minimum": 0, "maximum": 1}

flow = (
    Workflow("code_review")
    .description("Reviews a Python file, fixes what can be fixed, and repeats until its quality suffices")
    .input("path", "string", description="A Python file below one of the worker's file roots")
    .input("quality_threshold", "number", default=0.9, description="Enough, from 0 to 1")
    .tool("read", "file.read", path="state.path")
    .writes(code="output.text")
    .function("extract", "code.extract_functions")
    .function("measure", "code.complexity")
    .function("detect", "code.detect_issues")
    .function("score", "code.score")
    .function("improve", "code.improve")
    .function("suggest", "code.suggest")
    .llm("advise", "code_improver@1")
    .inputs(content="state.code", issues="state.issues", language="Python")
    .writes(advice="output.text")
    .condition("size(state.issues) > 0")
    .quality("Silver")
    .on_failure("continue")
    .edge("read", "extract")
    .edge("read", "measure")
    .edge("read", "detect")
    .edge("extract", "score")
    .edge("measure", "score")
    .edge("detect", "score")
    .edge("score", "improve", condition=MORE, max_iterations=3)
    .edge("score", "suggest", condition=ENOUGH)
    .edge("score", "advise", condition=ENOUGH)
    .edge("improve", "extract")
    .edge("improve", "measure")
    .edge("improve", "detect")
    .edge("suggest", "END")
    .edge("advise", "END")
    .graph(
        "read",
        schema={
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "quality_score": SCORE,
                "quality_threshold": SCORE,
                "round": {"type": "integer", "maximum": 3},
                "issues": {"type": "array", "items": {"type": "object", "required": ["rule", "severity", "line"]}},
            },
        },
        reducers={"round": "sum", "applied": "extend"},
        initial={"round": 0, "applied": [], "issues": [], "advice": None},
        max_supersteps=20,
    )
)
for name in ("quality_score", "functions", "complexity", "issues", "applied", "suggestions", "advice", "code"):
    flow.output(name, f"state.{name}")
flow.output("rounds", "state.round")

if __name__ == "__main__":
    run(flow, "path")
