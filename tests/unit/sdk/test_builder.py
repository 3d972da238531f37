"""The builder gives what the platform's own schema accepts, and says clearly what is wrong."""

from __future__ import annotations

import pytest

from agentflow_common.definition.nodes.run_lane import RunLane
from agentflow_common.definition.nodes.types import NODE_TYPES
from agentflow_common.definition.parse import parse_dict, parse_text
from agentflow_sdk import InvalidArgumentError, Workflow, body


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
        lambda: Workflow("w").map("a", body.map(body.tool("t"), over=[1], result="objects"), over=[1]),  # type: ignore[arg-type]
        lambda: Workflow("w").tool("a", "t").retry(3, backoff="quadratic"),
        lambda: Workflow("w").input("x", "strnig"),
    ],
)
def test_misuse_is_refused_where_it_happens(misuse: object) -> None:
    with pytest.raises(InvalidArgumentError):
        misuse()  # type: ignore[operator]


def test_every_node_of_the_complete_engine_passes_the_platform_schema() -> None:
    flow = (
        Workflow("complete")
        .input("items", "array")
        .map(
            "each", body.llm("p@1", output="json", x="{{item}}"), over="{{items}}", concurrency=2, item="item",
            on_item_failure="continue", max_failures=0.5,
        )
        .total_timeout(seconds=60)
        .on_timeout("slow_path")
        .map("slow_path", body.tool("t"), over=[1])
        .map("keys", body.tool("t"), over={"a": 1}, result="object", item_condition="item.value > index")
        .map("pairs", body.tool("t"), zip={"a": [1], "b": "{{items}}"}, batches=2)
        .map("numbers", body.tool("t"), range={"start": 1, "stop": "{{items[0]}}"})
        .map(
            "table",
            body.map(
                body.function("f", x="{{cell}}", at="{{[row, line, index]}}"), over="{{row.cells}}", item="cell",
                item_condition="cell > line", concurrency=2, on_item_failure="continue", max_failures=1,
            ),
            over="{{items}}", item="row", index="line",
        )
        .loop("again", body.subworkflow("other@2", n="{{iteration}}"), until="iteration > 2", max_iterations=3,
              on_max="fail", delay_seconds=0.5)
        .depends_on("each")
        .loop("more", body.tool("t"), while_="iteration < 2", max_iterations=3)
        .subworkflow("child", "other@stable", a="again.output")
        .depends_on("again")
        .wait("pause", seconds=1.5)
        .depends_on("child")
        .wait("later", until="2030-01-01T00:00:00Z")
        .signal("go", "go", timeout_seconds=9, on_timeout="continue")
        .approval("ask", "ok?", approvers=["ann", "bob"], required=2, expires_seconds=60, on_expire="reject",
                  on_reject="continue", escalate_seconds=30, escalate_to=["cleo"])
        .wait("late", seconds=9)
        .function("first", "f")
        .depends_on("late", "child")
        .join("any")
        .tool("pay", "ledger.transfer", amount=1)
        .on_unknown("ask")
        .heartbeat(seconds=5)
        .compensate_with(body.tool("ledger.reverse", entry="pay.output.entry"), max_attempts=9)
        .lane("{{org}}-{{run}}", limit=3, rate="10/s", pool="bulk")
        .run_lane("{{org}}", limit=2, rate="5/m", policy="skip")
        .lock("{{org}}-pay", "pay", "check")
        .priority(7)
        .function("check", "f")
        .depends_on("pay")
        .edge("check", "pay", condition="!check.output.ok", max_iterations=4)
        .continue_as_new("next", items="{{items}}")
        .depends_on("check")
        .subworkflow("free", "other@2")
        .detached()
        .in_run_lane("{{items}}", limit=3, rate="9/m", policy="newest_waits")
        .map("many", body.subworkflow("other@2"), over=[1])
        .detached()
        .in_run_lane("{{item}}")
        .function("sweep", "f")
        .at_end()
        .finally_limit(seconds=90)
        .end("stop", status="failed", error_type="refused", message="{{items}}")
        .condition("items == []")
        .validate()
    )  # fmt: skip
    definition = parse_dict(flow.to_dict())
    assert parse_text(flow.to_yaml()).digest() == definition.digest()
    nodes = {node.id: node for node in definition.dag.nodes}
    assert {node.type for node in nodes.values()} == set(NODE_TYPES) - {"llm"}
    assert (nodes["pay"].policy.heartbeat_ms, nodes["each"].policy.total_timeout_ms) == (5000, 60_000)
    pay = nodes["pay"]
    assert (pay.lane_limit, pay.lane_rate, pay.pool, pay.priority, pay.policy.on_unknown) == (
        3,
        "10/s",
        "bulk",
        7,
        "ask",
    )
    assert pay.compensate_with is not None
    assert pay.compensate_with.retry.max_attempts == 9
    assert definition.dag.edges[-2].max_iterations == 4
    assert nodes["first"].join == "any"
    assert (nodes["free"].config.detached, nodes["many"].config.body.config.detached) == (True, True)
    assert nodes["free"].config.run_lane == RunLane(key="{{items}}", limit=3, rate="9/m", policy="newest_waits")
    assert nodes["many"].config.body.config.run_lane == RunLane(key="{{item}}")
    assert (nodes["sweep"].at_end, definition.finally_ms) == (True, 90_000)
    stop = nodes["stop"].config
    assert (stop.status, stop.output, stop.error.type, stop.error.message) == ("failed", None, "refused", "{{items}}")
    assert [(lock.key, lock.nodes) for lock in definition.lock] == [("{{org}}-pay", ("pay", "check"))]
    lane = definition.run_lane
    assert lane is not None
    assert (lane.key, lane.limit, lane.rate, lane.policy) == ("{{org}}", 2, "5/m", "skip")


def test_a_graph_is_built_as_it_is_written() -> None:
    flow = (
        Workflow("ring")
        .function("a", "f")
        .tool("b", "t", x="state.n")
        .writes("whole")
        .llm("c", "p@1")
        .writes(n="output.n")
        .edge("a", "b")
        .edge("b", "a", condition="state.n < 3", max_iterations=2)
        .edge("b", "c")
        .edge("c", "END")
        .graph("a", schema={"properties": {"n": {"type": "integer"}}}, reducers={"n": "sum"}, initial={"n": 0},
               max_supersteps=9)
        .output("n", "state.n")
        .validate()
    )  # fmt: skip
    written = parse_text("""
name: ring
outputs: {n: state.n}
nodes:
  - {name: a, function: f}
  - {name: b, tool: t, args: {x: state.n}, writes: whole}
  - {name: c, prompt: p@1, writes: {n: output.n}}
edges:
  - {from: a, to: b}
  - {from: b, to: a, condition: state.n < 3, max_iterations: 2}
  - {from: b, to: c}
  - {from: c, to: END}
entry_point: a
state: {schema: {properties: {n: {type: integer}}}, reducers: {n: sum}, initial: {n: 0}}
max_supersteps: 9
""")
    assert parse_dict(flow.to_dict()).digest() == written.digest()


@pytest.mark.parametrize(
    ("flow", "place"),
    [
        (Workflow("w").function("a", "f").graph("b"), "graph.entry_point"),
        (Workflow("w").function("a", "f").edge("a", "c").graph("a"), "dag.edges[0].to"),
        (Workflow("w").function("a", "f").edge("a", "END"), "dag.edges[0].to"),
        (Workflow("w").map("a", body.llm("p@"), over=[1]), "dag.nodes[0].config.body.config.prompt_ref"),
        (
            Workflow("w").map("a", body.map(body.tool("t"), over="b.output", item="c"), over=[1]),
            "dag.nodes[0].config.body.config.over",
        ),
        (
            Workflow("w").map("a", body.map(body.llm("p@"), over=[1], item="c"), over=[1]),
            "dag.nodes[0].config.body.config.body.config.prompt_ref",
        ),
        (Workflow("w").map("a", body.tool("t"), over="b.output"), "dag.nodes[0].config.over"),
        (Workflow("w").tool("a", "t").compensate_with(body.tool("")), "dag.nodes[0].compensate_with.config.tool_name"),
        (Workflow("w").subworkflow("a", ""), "dag.nodes[0].config.workflow"),
    ],
)
def test_problems_of_the_newer_nodes_name_their_place(flow: Workflow, place: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        flow.validate()
    assert [problem.place for problem in caught.value.problems] == [place]


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: Workflow("w").loop("a", body.tool("t"), max_iterations=2),
        lambda: Workflow("w").loop("a", body.tool("t"), max_iterations=2, until="true", while_="true"),
        lambda: Workflow("w").wait("a"),
        lambda: Workflow("w").wait("a", seconds=-1),
        lambda: Workflow("w").writes("x"),
        lambda: Workflow("w").tool("a", "t").writes(),
        lambda: Workflow("w").tool("a", "t").heartbeat(seconds=0),
    ],
)
def test_misuse_of_the_newer_nodes_is_refused_where_it_happens(misuse: object) -> None:
    with pytest.raises(InvalidArgumentError):
        misuse()  # type: ignore[operator]


def test_exceptions_are_meant_by_their_names() -> None:
    flow = Workflow("w").tool("pay", "bank.pay").retry(2, retryable=[ConnectionError, "Busy"], non_retryable=ValueError)
    retry = flow.to_dict()["dag"]["nodes"][0]["policy"]["retry"]
    assert (retry["retryable"], retry["non_retryable"]) == (["ConnectionError", "Busy"], ["ValueError"])


def test_a_lone_text_is_one_name_and_not_its_letters() -> None:
    flow = (
        Workflow("w")
        .approval("ok", approvers="{{who}}", escalate_seconds=5, escalate_to="boss")
        .tool("pay", "bank.pay", reveal="iban", iban="DE00")
        .retry(2, retryable="Busy", non_retryable="Broke")
        .depends_on(["ok"])
        .compensate_with(body.tool("bank.back", reveal="iban", iban="DE00"), initial_ms=10)
    )
    ok, pay = parse_dict(flow.validate().to_dict()).canonical()["dag"]["nodes"]
    assert (ok["config"]["approvers"], ok["config"]["escalate_to"]) == (["{{who}}"], ["boss"])
    assert pay["config"]["reveal"] == pay["compensate_with"]["config"]["reveal"] == ["iban"]
    assert pay["policy"]["retry"]["retryable"] == ["Busy"]
    assert pay["policy"]["retry"]["non_retryable"] == ["Broke"]
    assert pay["compensate_with"]["retry"] == {"max_attempts": 5, "initial_ms": 10}
    assert flow.to_dict()["dag"]["edges"] == [{"from": "ok", "to": "pay"}]


def test_waits_and_model_calls_in_bodies_say_all_that_yaml_does() -> None:
    call = body.llm("p@1", output="json", max_output_tokens=9, temperature=0.5, text="{{item}}")
    flow = Workflow("w").wait("rest", duration="{{minutes}}m").map("each", call, over=[1])
    rest, each = parse_dict(flow.validate().to_dict()).canonical()["dag"]["nodes"]
    assert rest["config"] == {"duration": "{{minutes}}m"}
    assert each["config"]["body"]["config"] == {
        "prompt_ref": "p@1", "inputs": {"text": "{{item}}"}, "output": "json", "max_output_tokens": 9,
        "temperature": 0.5,
    }  # fmt: skip
    with pytest.raises(InvalidArgumentError, match="`seconds`, `duration` or `until`"):
        Workflow("w").wait("rest", seconds=3, duration="3s")


def test_inputs_of_a_node_that_takes_none_are_refused_at_once() -> None:
    with pytest.raises(InvalidArgumentError, match="a map node takes no inputs") as caught:
        Workflow("w").map("each", body.function("f"), over=[1]).inputs(x=1)
    assert caught.value.problems[0].fix == "give them to its body"


def test_llm_13_the_builder_says_what_follows_on_an_answer_that_was_cut_off() -> None:
    flow = Workflow("w").llm("a", "summarizer").on_truncated("continue").validate()
    assert parse_dict(flow.to_dict()).dag.nodes[0].policy.on_truncated == "continue"
    with pytest.raises(InvalidArgumentError, match=r"policy.on_truncated: 'acept' .*did you mean accept"):
        Workflow("w").llm("a", "summarizer").on_truncated("acept")  # type: ignore[arg-type]


def test_a_model_is_asked_with_a_text_or_with_a_registered_prompt() -> None:
    flow = (
        Workflow("w")
        .llm("hello", prompt="Say hello to {{name}}", model="local/extractive-1")
        .map("each", body.llm(prompt="Sum up {{item}}", model="a/b"), over="{{pages}}")
    )
    hello, each = flow.to_dict()["dag"]["nodes"]
    assert hello["config"] == {"prompt": "Say hello to {{name}}", "model": "local/extractive-1"}
    called = each["config"]["body"]["config"]
    assert called == {"prompt": "Sum up {{item}}", "model": "a/b", "inputs": {}}
    for made in (lambda **given: Workflow("w").llm("a", **given), body.llm):
        with pytest.raises(InvalidArgumentError, match="either a registered prompt or a text"):
            made()
    with pytest.raises(InvalidArgumentError, match="either a registered prompt or a text"):
        body.llm("p@1", prompt="Sum up")
