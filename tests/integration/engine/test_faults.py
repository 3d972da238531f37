"""What becomes of runs that the engine can't go on with, on a real log: the others of the shard know nothing of it."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import RetryableError
from agentflow_common.log.event_log import Entry
from agentflow_common.runs.state import RunStatus, StepStatus
from agentflow_scheduler.engine import decider, memory
from agentflow_scheduler.runs.steps import attempts
from tests.support.engine import loaded

pytestmark = pytest.mark.integration


def saga(bad: str, last: str = "", top: str = "") -> str:
    """A step with an effect, then the one that goes wrong."""
    pay = (
        "{id: pay, type: function, config: {function_name: t.add, inputs: {a: 1}}, compensate_with: "
        "{type: function, config: {function_name: t.undo, inputs: {what: paid, value: pay.output}}}}"
    )
    edges = "{from: pay, to: bad}" + (", {from: bad, to: last}" if last else "")
    nodes = "".join(f"    - {node}\n" for node in (pay, bad, last) if node)
    return f"name: w\n{top}\ndag:\n  nodes:\n{nodes}  edges: [{edges}]\n"


LAST = "{id: last, type: function, config: {function_name: t.add, inputs: {a: bad.output, b: 3}}}"
QUICK = "name: q\ndag:\n  nodes:\n    - {id: a, type: function, config: {function_name: t.add, inputs: {a: 1}}}\n"


@pytest.mark.parametrize(
    "template",
    [
        "{{ {'to': o.nope} }}", "{{ [o.nope] }}", "{{ [o.id.nope] }}", "{{ {'t': xs | map('nope')} }}",
        "{{ 1e308 * 10 }}", "{{ [1 // 0] }}", "{{ xs | map(attribute='x.y') | list }}",
    ],
)  # fmt: skip
async def test_engine_01_a_template_mistake_is_compensated(engine: Any, template: str) -> None:
    loaded().UNDONE.clear()
    bad = f'{{id: bad, type: function, config: {{function_name: t.add, inputs: {{a: "{template}"}}}}}}'
    top = "inputs: {o: {type: object}, xs: {type: array}}"
    key = await engine.submit(saga(bad, top=top), {"o": {"id": 1}, "xs": ["a"]})
    state = await engine.finished(key)
    assert (state.status, state.error.type) == (RunStatus.FAILED, "undecidable")
    assert state.error.message.startswith(f"bad: inputs.a: {template}: ")
    end = await engine.until(key, ev.RunFailed)
    assert (end.step, end.compensated, loaded().UNDONE) == ("bad", ("pay",), ["paid"])


@pytest.mark.parametrize(
    ("template", "value"),
    [("{{ {'t': xs | map('upper')} }}", {"t": ["A"]}), ("{{ x | escape }}", "1"), ("{{ [xs, x | e] }}", [["a"], "1"])],
)
async def test_engine_01_what_means_a_list_or_a_text_is_one(engine: Any, template: str, value: Any) -> None:
    top = f'inputs: {{x: {{type: string}}, xs: {{type: array}}}}\noutputs: {{found: "{template}"}}'
    key = await engine.submit(QUICK.replace("name: q", f"name: q\n{top}"), {"x": "1", "xs": ["a"]})
    state = await engine.finished(key)
    assert state.status is RunStatus.COMPLETED, state.error
    wanted = {
        "{{ {'t': xs | map('upper')} }}": {"t": ["A"]},
        "{{ x | escape }}": "1",
        "{{ [xs, x | e] }}": [["a"], "1"],
    }
    assert state.output.value == {"found": wanted[template]}


@pytest.mark.parametrize("policy", ["fail", "continue"])
async def test_engine_01_an_error_of_the_engine_is_the_failure_of_its_step(
    engine: Any, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    real = attempts._offer

    def offer(at: Any, *rest: Any) -> None:
        real(at, *rest)
        if at.key == "bad":
            at.state.steps.clear()  # half of what it was about to do
            raise ZeroDivisionError

    monkeypatch.setattr(attempts, "_offer", offer)
    loaded().UNDONE.clear()
    rules = f"{{on_failure: {policy}, timeout_ms: 60s}}"  # a step with a timeout is offered by the scheduler
    bad = f"{{id: bad, type: function, config: {{function_name: t.add}}, policy: {rules}}}"
    keys = [await engine.submit(saga(bad, LAST.replace("bad.output", "1"))) for _ in range(3)]
    others = [await engine.submit(QUICK) for _ in range(10)]
    for other in others:
        assert (await engine.finished(other)).status is RunStatus.COMPLETED
    for key in keys:
        state = await engine.finished(key)
        assert state.steps["bad"].error.type == "engine_error"
        if policy == "continue":
            assert (state.status, state.steps["last"].status) == (RunStatus.COMPLETED, StepStatus.COMPLETED)
            continue
        end = await engine.until(key, ev.RunFailed)
        assert (end.step, end.compensated) == ("bad", ("pay",))
        assert end.error.message == "bad: ZeroDivisionError in the engine; see the scheduler's log"
    assert len(loaded().UNDONE) == (0 if policy == "continue" else 3)


async def test_engine_01_an_error_that_leaves_nothing_to_do_ends_its_run_alone(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even its end can be decided: the others go on, and so does it once the engine is mended."""
    real = decider.decide_entity

    def decide_entity(key: subjects.EntityKey, entity: Any, *rest: Any) -> Any:
        if getattr(entity.state, "workflow", "") == "w" and entity.state.started_at:
            raise ZeroDivisionError
        return real(key, entity, *rest)

    monkeypatch.setattr(decider, "decide_entity", decide_entity)
    key = await engine.submit(saga("{id: bad, type: function, config: {function_name: t.broken}}"))
    await engine.until(key, ev.StepCompleted)
    for other in [await engine.submit(QUICK) for _ in range(10)]:
        assert (await engine.finished(other)).status is RunStatus.COMPLETED
    monkeypatch.setattr(decider, "decide_entity", real)
    cancel = ev.RunCancelRequested(org=key.org, run=key.name, ts=1, reason="enough")
    await engine.log.append(Entry(subjects.run_in(key), ev.encode(cancel)))
    end = (await engine.finished(key)).status
    assert end in {RunStatus.CANCELLED, RunStatus.FAILED}


async def test_engine_01_a_value_that_is_lost_is_the_failure_of_the_step_that_asks_for_it(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch(_self: Any, _ref: Any) -> Any:
        raise RetryableError("the object store has it no more", kind="blob_missing")

    monkeypatch.setattr(memory, "PARK_TRIES_MAX", 1)
    monkeypatch.setattr("agentflow_common.log.blobs.Blobs.fetch", fetch)
    loaded().UNDONE.clear()
    big = "{id: bad, type: function, config: {function_name: t.big, inputs: {size: 30000}}}"
    last = "{id: last, type: function, config: {function_name: t.add, inputs: {a: '{{bad.output | length}}'}}}"
    key = await engine.submit(saga(big, last))
    state = await engine.finished(key)
    assert (state.status, state.error.type) == (RunStatus.FAILED, "blob_missing")
    assert state.error.message.startswith("last: ")
    end = await engine.until(key, ev.RunFailed)
    assert (end.step, end.compensated, loaded().UNDONE) == ("last", ("pay",), ["paid"])
