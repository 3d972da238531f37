"""Values stored out of line, wherever a definition may look into them; signals that nobody took; answers of nobody."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.events import Payload
from agentflow_common.runs.fold import fold, new_state
from agentflow_common.runs.state import RunStatus, blob_marker
from agentflow_scheduler.runs import scope
from agentflow_scheduler.shards.overtaken import overtaken
from tests.support.definitions import BODY, WORK, Node, edges, function, in_order, workflow
from tests.support.events import base
from tests.support.run_driver import RunDriver


def each(*items: int) -> Node:
    return {"id": "m", "type": "map", "config": {"over": [*items], "body": BODY}}


MAP = each(1, 2, 3)


def run_map(definition: dict[str, Any]) -> RunDriver:
    """Returns a run whose map is done; the second of its three items gave what is stored out of line."""
    run = RunDriver(definition).submit()
    run.completes("m[0]", {"n": 0})
    run.completes("m[1]", run.store({"n": 1, "list": [7]}))
    return run.completes("m[2]", {"n": 2})


def test_outputs_look_into_an_item() -> None:
    outputs = {"n": "{{m.output[1].n}}", "all": "{{m.output | map(attribute='n') | list}}"}
    assert run_map(workflow(MAP, outputs=outputs)).output == {"n": 1, "all": [0, 1, 2]}


def test_a_condition_looks_into_an_item() -> None:
    links = edges("m a", condition="m.output[1].list[0] == 7")
    assert run_map(workflow(MAP, function("a"), edges=links)).inputs("a") == {}


@pytest.mark.parametrize("over", ["m.output", "{{m.output}}"])
def test_a_map_over_what_a_map_gave(over: str) -> None:
    body = {"type": "function", "config": {**WORK, "inputs": {"n": "{{item.n}}", "whole": "{{item}}"}}}
    run = run_map(workflow(MAP, {"id": "k", "type": "map", "config": {"over": over, "body": body}}))
    assert [run.inputs(f"k[{n}]")["n"] for n in range(3)] == [0, 1, 2]
    assert run.inputs("k[1]")["whole"] == {"n": 1, "list": [7]}


def test_a_whole_output_is_passed_on_by_reference() -> None:
    run = run_map(workflow(MAP, function("a", {"x": "{{ m.output }}"})))
    given = run.state.steps["m[1]"].output
    assert given is not None
    assert given.ref is not None
    assert run.inputs("a")["x"][1] == blob_marker(given.ref)


def test_what_is_looked_into_is_asked_for_together() -> None:
    """However many steps one node reads, and however large what they gave: few rounds."""
    names = [f"s{n}" for n in range(120)]
    reads = {name: f"{{{{{name}.output.n + {names[0]}.output.n}}}}" for name in names}
    run = RunDriver(workflow(*map(function, names), function("last", reads))).submit()
    for number, name in enumerate(names):
        run.completes(name, run.store({"n": number}))
    assert run.inputs("last")["s119"] == 119
    assert run.rounds <= 2


def test_a_child_s_output_is_put_together_in_few_rounds() -> None:
    run = RunDriver(workflow(each(*range(120)))).submit(parent=ev.ParentRef("p", "s", 1))
    for number in range(120):
        run.completes(f"m[{number}]", run.store({"n": number}))
    assert run.rounds <= 2
    ended = next(event for _, event in run.sends if isinstance(event, ev.ChildEnded))
    assert ended.output.value["m"][119] == {"n": 119}


def test_more_than_may_be_looked_into_fails_what_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope, "LOOK_BYTES_MAX", 1000)
    reads = function("z", {"a": "{{s0.output.n}}", "b": "{{s1.output.n}}"})
    run = RunDriver(workflow(function("s0"), function("s1"), reads)).submit()
    run.completes("s0", run.store({"n": 0}, 600))
    run.completes("s1", run.store({"n": 1}, 600))
    assert run.status is RunStatus.FAILED
    assert "1,200 bytes that are stored out of line" in run.error.message


@pytest.mark.parametrize("is_child", [False, True])
def test_an_output_that_nobody_can_store_fails_the_run(is_child: bool) -> None:
    """Of a run by itself what is out of line stays so; a parent is given the values."""
    run = RunDriver(workflow(MAP)).submit(parent=ev.ParentRef("p", "s", 1) if is_child else None)
    for number in range(3):
        run.completes(f"m[{number}]", run.store({"n": number, "text": "x" * 2_000_000}))
    if not is_child:
        assert len(run.output["m"]) == 3
        return
    assert run.status is RunStatus.FAILED
    assert "the run's output is 6,0" in run.error.message


def test_the_data_of_an_answer_may_be_large() -> None:
    outputs = {"n": "{{ok.output.decisions[0].data.n}}"}
    run = RunDriver(workflow({"id": "ok", "type": "approval"}, outputs=outputs)).submit()
    run.tell(ev.ApprovalGiven, step="ok", decision="approve", by="ana", data=run.store({"n": 3}))
    assert run.output == {"n": 3}


@pytest.mark.parametrize("who", [[], [""], None, {"a": 1}, 3, ["ana", None]])
def test_an_approval_whose_approvers_turn_out_to_be_nobody_is_not_for_everybody(who: Any) -> None:
    node = {"id": "ok", "type": "approval", "config": {"approvers": ["{{who}}"]}}
    run = RunDriver(workflow(node)).submit({"who": who})
    assert run.status is RunStatus.FAILED
    assert "approvers" in run.error.message


def test_signals_that_nobody_took_go_on_with_the_run() -> None:
    gate = {"id": "gate", "type": "signal", "config": {"signal": "gate"}}
    again = {"id": "again", "type": "continue_as_new", "config": {"inputs": {"n": 2}}}
    run = RunDriver(in_order(gate, again)).submit({"n": 1})
    run.tell(ev.SignalReceived, name="go", payload=Payload(value=1))
    run.tell(ev.SignalReceived, name="go", payload=run.store("large"))
    run.tell(ev.SignalReceived, name="gate")
    following = next(event for _, event in run.sends if isinstance(event, ev.RunSubmitted))
    state = new_state(following, 1)
    assert [payload.value for payload in state.signals["go"]] == [1, None]
    assert state.signals["go"][1].ref is not None
    assert "gate" not in state.signals


def test_a_signal_that_came_while_the_run_went_on_is_told_to_the_new_one_once() -> None:
    end = ev.RunCompleted(**base(), seen=1, output=Payload(), continued_as="r2")
    early = ev.SignalReceived(**base(), name="go")
    log = [(1, early), (2, msgspec.structs.replace(early, id="mine")), (3, early), (4, end)]
    passed_on = overtaken(subjects.key_of("o", "r"), log)
    assert [(seq, to.name, event.run, getattr(event, "id", "")) for seq, to, event in passed_on] == [
        (2, "r2", "r2", "mine"),
        (3, "r2", "r2", "r:3"),
    ]
    run = RunDriver(workflow({"id": "s", "type": "signal", "config": {"signal": "other"}})).submit(run="r2")
    twice = [event for _, _, event in passed_on] * 2
    state = fold([*run.log, *enumerate(twice, len(run.log) + 1)])
    assert state is not None
    assert len(state.signals["go"]) == 2
