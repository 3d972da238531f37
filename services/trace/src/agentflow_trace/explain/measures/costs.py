"""Where the money of a run went, and what of it was unusual. Pure. Amounts are nano-USD.

The cost of a step is that of all reports on it, late ones too: that money was spent. The cost of a subworkflow is the
amount that its run reports at its end.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import money
from agentflow_common.rpc.traces.explain import CostReport, CostShare, ModelCost, Usual
from agentflow_common.runs.state import node_of
from agentflow_trace.explain.measures.history import History, usual
from agentflow_trace.explain.run_log import RunLog

NAMED_MAX: Final = 3  # steps that the text names
SUBWORKFLOWS: Final = "subworkflows"  # in the place of a model: the sum of other runs


class _Step(msgspec.Struct):
    cost: int = 0
    models: dict[str, None] = {}
    calls: int = 0
    attempts: int = 0
    wasted: int = 0
    fallbacks: int = 0
    hits: int = 0
    misses: int = 0


class _Model(msgspec.Struct):
    cost: int = 0
    calls: int = 0
    failed: int = 0


class _Ledger(msgspec.Struct):
    steps: dict[str, _Step] = {}
    models: dict[str, _Model] = {}

    def step(self, key: str) -> _Step:
        return self.steps.setdefault(node_of(key), _Step())

    def model(self, name: str) -> _Model:
        return self.models.setdefault(name, _Model())


def report(log: RunLog, history: History) -> CostReport:
    """Returns what each step and each model cost, the dearest first. Both add up to the whole exactly."""
    ledger = _Ledger()
    for entry in log.entries:
        event: Any = entry.event
        if isinstance(event, ev.ChildEnded):
            step = ledger.step(event.step)
            step.cost += event.cost_nano
            step.attempts += event.status != "continued"
            ledger.model(SUBWORKFLOWS).cost += event.cost_nano
        elif isinstance(event, ev.StepCompleted | ev.StepFailed) and event.llm is not None:
            _count(ledger, log, event, event.llm)
    whole = sum(step.cost for step in ledger.steps.values())
    steps = [_share(name, step, whole, history) for name, step in ledger.steps.items()]
    models = [
        ModelCost(
            model=name, cost_nano=model.cost, share=_of(model.cost, whole), calls=model.calls, failed=model.failed
        )
        for name, model in ledger.models.items()
        if model.cost or model.calls
    ]
    ended = log.state is not None and log.state.status == "completed"
    found = usual(whole, history.cost_nano) if ended else Usual()
    steps.sort(key=lambda step: (-step.cost_nano, step.step))
    models.sort(key=lambda model: (-model.cost_nano, model.model))
    text = _text(whole, found, steps)
    return CostReport(cost_nano=whole, text=text, usual=found, steps=tuple(steps), models=tuple(models))


def _count(ledger: _Ledger, log: RunLog, event: ev.StepCompleted | ev.StepFailed, used: ev.LlmUsage) -> None:
    step = ledger.step(event.step)
    step.cost += used.cost_nano
    step.attempts += 1
    step.calls += len(used.attempts)
    failed = [call for call in used.attempts if not call.ok]
    step.wasted += used.cost_nano if isinstance(event, ev.StepFailed) else sum(call.cost_nano for call in failed)
    step.fallbacks += len(failed) if isinstance(event, ev.StepCompleted) else max(0, len(failed) - 1)
    step.hits += used.cache_hit
    step.misses += bool(log.policy(event.step).get("cache")) and not used.cache_hit
    rest = used.cost_nano - sum(call.cost_nano for call in used.attempts)
    for call in used.attempts:
        name = f"{call.provider}/{call.model}"
        step.models[name] = None
        model = ledger.model(name)
        model.cost += call.cost_nano
        model.calls += 1
        model.failed += not call.ok
    if rest:  # of an event that does not list its calls
        name = f"{used.provider}/{used.model}"
        step.models[name] = None
        ledger.model(name).cost += rest


def _of(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _share(name: str, step: _Step, whole: int, history: History) -> CostShare:
    notes = [
        f"{step.attempts} attempts" if step.attempts > 1 else "",
        f"{step.fallbacks} calls failed before another answered" if step.fallbacks else "",
        f"{money.display(step.wasted)} without a result" if step.wasted else "",
        f"{step.misses} answers were not in the cache" if step.misses else "",
        f"{step.hits} answers came from the cache" if step.hits else "",
    ]
    return CostShare(
        step=name,
        cost_nano=step.cost,
        share=_of(step.cost, whole),
        models=tuple(step.models),
        calls=step.calls,
        attempts=step.attempts,
        wasted_nano=step.wasted,
        fallbacks=step.fallbacks,
        cache_hits=step.hits,
        cache_misses=step.misses,
        text="; ".join(note for note in notes if note),
        usual=usual(step.cost, history.node(name).cost_nano),
    )


def _text(whole: int, found: Usual, steps: list[CostShare]) -> str:
    text = f"the run cost {money.display(whole)}"
    if found.samples and found.median:
        verdict = "unusually much" if found.unusual else "as usual"
        text += f", {verdict}: the median of {found.samples} earlier runs is {money.display(round(found.median))}"
    sentences = [text]
    if whole:
        named = "; ".join(f"{step.step} {step.share:.0%}" for step in steps[:NAMED_MAX] if step.cost_nano)
        sentences.append(named)
    odd = [step for step in steps if step.usual.unusual][:NAMED_MAX]
    sentences += [f"unusual: {one.step}, {money.display(round(one.usual.median))} is the median" for one in odd]
    return ". ".join(sentences)
