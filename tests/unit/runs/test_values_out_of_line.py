"""Values stored out of line, wherever a definition may look into them; signals that nobody took; answers of nobody."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_text
from agentflow_common.events import BlobRef, Payload
from agentflow_common.runs.fold import fold, new_state
from agentflow_common.runs.state import RunStatus, blob_marker
from agentflow_scheduler.runs import scope
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.shards.overtaken import overtaken
from tests.support.deciding import decide

MAP = "{id: m, type: map, config: {over: [1, 2, 3], body: {type: function, config: {function_name: f}}}}"


class Driven:
    """One run. Blobs that it asks for are there in the next round, and `rounds` counts how many it took."""

    def __init__(self, text: str, **fields: Any) -> None:
        raw = parse_text(text).canonical()
        event = ev.RunSubmitted(org="o", run="r", ts=1, workflow="w", version=1, definition=raw,
                                **{"inputs": Payload(value={}), **fields})  # fmt: skip
        self.seq = 1
        self.run = Run(new_state(event, 1), Plans().get(raw))
        self.state = self.run.state
        self.stored: dict[str, Any] = {}
        self.decisions: list[Any] = []
        self.sends: list[Any] = []
        self.rounds = 0
        self.decide()

    def decide(self) -> None:
        blobs: dict[str, Any] = {}
        self.rounds = 0
        while True:
            out = decide(self.run, 1, blobs)
            self.decisions.extend(out.decisions)
            self.sends.extend(event for _, event in out.sends)
            if not out.needs:
                return
            self.rounds += 1
            blobs.update((ref.sha256, self.stored[ref.sha256]) for ref in out.needs)

    def tell(self, kind: Any, **fields: Any) -> None:
        self.seq += 1
        self.run.apply(kind(org="o", run="r", ts=1, **fields), self.seq)
        self.decide()

    def kept(self, value: Any, size: int = 0) -> Payload:
        data = msgspec.json.encode(value)
        ref = BlobRef(hashlib.sha256(data).hexdigest(), size or len(data))
        self.stored[ref.sha256] = value
        return Payload(ref=ref)

    def done(self, step: str, output: Payload) -> None:
        self.tell(ev.StepCompleted, step=step, attempt=1, output=output)

    def inputs(self, step: str) -> Any:
        return next(d.inputs for d in self.decisions if isinstance(d, ev.StepScheduled) and d.step == step)

    @property
    def output(self) -> Any:
        assert self.state.status is RunStatus.COMPLETED, self.state.error
        assert self.state.output is not None
        return self.state.output.value


def flow(*nodes: str, edges: str = "", outputs: str = "") -> str:
    listed = "".join(f"    - {node}\n" for node in nodes)
    return f"name: w\noutputs: {{{outputs}}}\ndag:\n  nodes:\n{listed}  edges: [{edges}]\n"


def mapped(text: str) -> Driven:
    """The second of three items gave what is stored out of line."""
    driven = Driven(text)
    driven.done("m[0]", Payload(value={"n": 0}))
    driven.done("m[1]", driven.kept({"n": 1, "list": [7]}))
    driven.done("m[2]", Payload(value={"n": 2}))
    return driven


def test_outputs_look_into_an_item() -> None:
    driven = mapped(flow(MAP, outputs="n: '{{m.output[1].n}}', all: \"{{m.output | map(attribute='n') | list}}\""))
    assert driven.output == {"n": 1, "all": [0, 1, 2]}


def test_a_condition_looks_into_an_item() -> None:
    after = "{id: a, type: function, config: {function_name: f}}"
    driven = mapped(flow(MAP, after, edges="{from: m, to: a, condition: 'm.output[1].list[0] == 7'}"))
    assert driven.inputs("a") == {}


@pytest.mark.parametrize("over", ["m.output", "'{{m.output}}'"])
def test_a_map_over_what_a_map_gave(over: str) -> None:
    body = "{type: function, config: {function_name: f, inputs: {n: '{{item.n}}', whole: '{{item}}'}}}"
    driven = mapped(flow(MAP, f"{{id: k, type: map, config: {{over: {over}, body: {body}}}}}"))
    assert [driven.inputs(f"k[{n}]")["n"] for n in range(3)] == [0, 1, 2]
    assert driven.inputs("k[1]")["whole"] == {"n": 1, "list": [7]}


def test_a_whole_output_is_passed_on_by_reference() -> None:
    driven = mapped(flow(MAP, "{id: a, type: function, config: {function_name: f, inputs: {x: '{{ m.output }}'}}}"))
    marker = driven.inputs("a")["x"][1]
    given = driven.state.steps["m[1]"].output
    assert given is not None
    assert given.ref is not None
    assert marker == blob_marker(given.ref)


def test_what_is_looked_into_is_asked_for_together() -> None:
    """However many steps one node reads, and however large what they gave: few rounds."""
    names = [f"s{n}" for n in range(120)]
    nodes = [f"{{id: {name}, type: function, config: {{function_name: f}}}}" for name in names]
    reads = ", ".join(f"{name}: '{{{{{name}.output.n + {names[0]}.output.n}}}}'" for name in names)
    driven = Driven(flow(*nodes, f"{{id: last, type: function, config: {{function_name: f, inputs: {{{reads}}}}}}}"))
    for number, name in enumerate(names):
        driven.done(name, driven.kept({"n": number}))
    assert driven.inputs("last")["s119"] == 119
    assert driven.rounds <= 2


def test_a_child_s_output_is_put_together_in_few_rounds() -> None:
    text = flow(MAP.replace("[1, 2, 3]", str(list(range(120)))))
    driven = Driven(text, parent=ev.ParentRef("p", "s", 1))
    for number in range(120):
        driven.done(f"m[{number}]", driven.kept({"n": number}))
    assert driven.rounds <= 2
    ended = next(e for e in driven.sends if isinstance(e, ev.ChildEnded))
    assert ended.output.value["m"][119] == {"n": 119}


def test_more_than_may_be_looked_into_fails_what_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope, "LOOK_BYTES_MAX", 1000)
    nodes = [f"{{id: s{n}, type: function, config: {{function_name: f}}}}" for n in range(2)]
    reads = "{a: '{{s0.output.n}}', b: '{{s1.output.n}}'}"
    driven = Driven(flow(*nodes, f"{{id: z, type: function, config: {{function_name: f, inputs: {reads}}}}}"))
    driven.done("s0", driven.kept({"n": 0}, 600))
    driven.done("s1", driven.kept({"n": 1}, 600))
    assert driven.state.status is RunStatus.FAILED
    assert driven.state.error is not None
    assert "1,200 bytes that are stored out of line" in driven.state.error.message


@pytest.mark.parametrize("is_child", [False, True])
def test_an_output_that_nobody_can_store_fails_the_run(is_child: bool) -> None:
    """Of a run by itself what is out of line stays so; a parent is given the values."""
    driven = Driven(flow(MAP), parent=ev.ParentRef("p", "s", 1) if is_child else None)
    for number in range(3):
        driven.done(f"m[{number}]", driven.kept({"n": number, "text": "x" * 2_000_000}))
    if not is_child:
        assert len(driven.output["m"]) == 3
        return
    assert driven.state.status is RunStatus.FAILED
    assert driven.state.error is not None
    assert "the run's output is 6,0" in driven.state.error.message


def test_the_data_of_an_answer_may_be_large() -> None:
    driven = Driven(flow("{id: ok, type: approval}", outputs="n: '{{ok.output.decisions[0].data.n}}'"))
    driven.tell(ev.ApprovalGiven, step="ok", decision="approve", by="ana", data=driven.kept({"n": 3}))
    assert driven.output == {"n": 3}


@pytest.mark.parametrize("who", [[], [""], None, {"a": 1}, 3, ["ana", None]])
def test_an_approval_whose_approvers_turn_out_to_be_nobody_is_not_for_everybody(who: Any) -> None:
    driven = Driven(
        flow("{id: ok, type: approval, config: {approvers: ['{{who}}']}}"), inputs=Payload(value={"who": who})
    )
    assert driven.state.status is RunStatus.FAILED
    assert driven.state.error is not None
    assert "approvers" in driven.state.error.message


def test_signals_that_nobody_took_go_on_with_the_run() -> None:
    gate = "{id: gate, type: signal, config: {signal: gate}}"
    again = "{id: again, type: continue_as_new, config: {inputs: {n: 2}}}"
    driven = Driven(flow(gate, again, edges="{from: gate, to: again}"), inputs=Payload(value={"n": 1}))
    driven.tell(ev.SignalReceived, name="go", payload=Payload(value=1))
    driven.tell(ev.SignalReceived, name="go", payload=driven.kept("large"))
    driven.tell(ev.SignalReceived, name="gate")
    following = next(e for e in driven.sends if isinstance(e, ev.RunSubmitted))
    state = new_state(following, 1)
    assert [payload.value for payload in state.signals["go"]] == [1, None]
    assert state.signals["go"][1].ref is not None
    assert "gate" not in state.signals


def test_a_signal_that_came_while_the_run_went_on_is_told_to_the_new_one_once() -> None:
    key = subjects.key_of("o", "r")
    end = ev.RunCompleted(org="o", run="r", ts=1, seen=1, output=Payload(), continued_as="r2")
    early = ev.SignalReceived(org="o", run="r", ts=1, name="go")
    log = [(1, early), (2, msgspec.structs.replace(early, id="mine")), (3, early), (4, end)]
    told = overtaken(key, log)
    assert [(seq, to.name, word.run, getattr(word, "id", "")) for seq, to, word in told] == [
        (2, "r2", "r2", "mine"),
        (3, "r2", "r2", "r:3"),
    ]
    raw = parse_text(flow("{id: s, type: signal, config: {signal: other}}")).canonical()
    first = ev.RunSubmitted(org="o", run="r2", ts=1, workflow="w", version=1, definition=raw)
    twice = [word for _, _, word in told] * 2
    state = fold([(1, first), *enumerate(twice, 2)])  # type: ignore[list-item]
    assert state is not None
    assert len(state.signals["go"]) == 2
