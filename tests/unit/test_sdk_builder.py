"""The builder gives what the platform's own schema accepts, and says clearly what is wrong."""

from __future__ import annotations

import pytest

from agentflow_common.definition import parse_dict, parse_text
from agentflow_sdk import InvalidArgumentError, Workflow


def document_analysis() -> Workflow:
    return (
        Workflow("document_analysis")
        .version(1)
        .tool("ingest", "file.read", path="{{document_key}}")
        .llm("analyze", "document_analyzer@1")
        .quality("Gold")
        .sla(seconds=30)
        .inputs(content="ingest.output.text")
        .depends_on("ingest")
    )


def test_the_builder_gives_the_yaml_shape() -> None:
    built = parse_dict(document_analysis().to_dict())
    written = parse_text("""
name: document_analysis
version: 1
dag:
  nodes:
    - id: ingest
      type: tool
      config: {tool_name: file.read, tool_args: {path: "{{document_key}}"}}
    - id: analyze
      type: llm
      config: {prompt_ref: document_analyzer@1, inputs: {content: ingest.output.text}}
      policy: {quality: Gold, sla_ms: 30000}
  edges:
    - {from: ingest, to: analyze}
""")
    assert built.digest() == written.digest()


def test_every_method_passes_the_platform_schema() -> None:
    flow = (
        Workflow("everything", "with all that there is")
        .version(3)
        .deadline(seconds=60)
        .input("document_key", "string", description="which")
        .input("limit", "integer", default=3)
        .input("note", required=False)
        .tool("fetch", "http.get", reveal=["url"], url="{{document_key}}")
        .timeout(seconds=1.5)
        .retry(4, backoff="fixed", initial_ms=10, max_ms=50, jitter=0, retryable=["a"], non_retryable=["b"])
        .on_unknown("retry")
        .function("split", "text_splitter", text="fetch.output.text", size="{{limit}}")
        .depends_on("fetch")
        .lane("bulk")
        .llm("analyze", "p@2", output="json", max_output_tokens=100, temperature=0.5)
        .inputs(chunk="split.output.chunks")
        .parallel(over="chunk")
        .quality("bronze")
        .cache()
        .model("local/extract")
        .on_failure("continue")
        .depends_on("split")
        .function("merge", "result_merger", items="analyze.output")
        .condition("size(split.output.chunks) > 0")
        .edge("analyze", "merge", condition="analyze.status == 'completed'")
        .output("result", "merge.output")
        .validate()
    )
    definition = parse_dict(flow.to_dict())
    assert parse_text(flow.to_yaml()).digest() == definition.digest()
    assert definition.inputs["limit"].default == 3
    assert definition.inputs["document_key"].required
    assert not definition.inputs["limit"].required
    policy = definition.dag.nodes[0].policy
    assert (policy.timeout_ms, policy.retry.max_attempts, policy.retry.retryable) == (1500, 4, ("a",))
    assert definition.dag.edges[-1].condition == "analyze.status == 'completed'"


def test_a_definition_given_away_does_not_change() -> None:
    flow = document_analysis()
    before = flow.to_dict()
    flow.inputs(more="x").quality("Bronze")
    assert before["dag"]["nodes"][1]["policy"]["quality"] == "Gold"


@pytest.mark.parametrize(
    ("flow", "place", "words"),
    [
        (Workflow("1bad").tool("a", "t"), "name", "not a name"),
        (Workflow("w"), "dag.nodes", "no node"),
        (Workflow("w").tool("a", "t").tool("a", "t"), "dag.nodes[1].id", "taken"),
        (Workflow("w").tool("a", "t").depends_on("b"), "dag.edges[0].from", "no node 'b'"),
        (Workflow("w").tool("a", "t", x="b.output.y"), "dag.nodes[0].config.tool_args.x", "no such node"),
        (Workflow("w").tool("a", "t").output("o", ["z.output"]), "outputs.o[0]", "no such node"),
        (Workflow("w").tool("a", "t").edge("a", "b").tool("b", "t").edge("b", "a"), "dag.edges", "a -> b -> a"),
        (Workflow("w").llm("a", "p@"), "dag.nodes[0].config.prompt_ref", "not a prompt reference"),
        (Workflow("w").tool("a", "t").parallel(), "dag.nodes[0].config.parallel", "needs an input"),
    ],
)
def test_structural_problems_name_place_and_fix(flow: Workflow, place: str, words: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        flow.validate()
    problem = caught.value.problems[0]
    assert problem.place == place
    assert words in problem.message
    assert problem.fix
    with pytest.raises(Exception, match=r"not valid|must be"):
        parse_dict(flow.to_dict())


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: Workflow("w").quality("Gold"),
        lambda: Workflow("w").tool("a", "t").quality("Platinum"),
        lambda: Workflow("w").tool("a", "t").sla(seconds=0),
        lambda: Workflow("w").tool("a", "t").retry(3, backoff="quadratic"),
        lambda: Workflow("w").input("x", "strnig"),
    ],
)
def test_misuse_is_refused_where_it_happens(misuse: object) -> None:
    with pytest.raises(InvalidArgumentError):
        misuse()  # type: ignore[operator]
