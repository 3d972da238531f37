"""Compares two runs: which steps differ, and by how much each of them changed cost and duration. Pure.

Costs are sums over the attempts of a step. Its share of the run's duration is what it adds to the critical path, by
kind of time. Both are parts of the run's totals, so the differences of the steps, and of the rest, sum to the
differences of the runs exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from agentflow_common.rpc import DiffRest, DiffRun, DiffSide, DiffStep, TraceDiffReply
from agentflow_common.rpc.traces.diff import STEPS_MAX
from agentflow_common.runs.state import node_of, parent_of
from agentflow_trace.diff.alignment import Alignment, Pair, align
from agentflow_trace.diff.definitions import parts_of
from agentflow_trace.diff.graph import Node, contracted
from agentflow_trace.diff.records import RunRecord, Step, Value
from agentflow_trace.diff.summary import summarize
from agentflow_trace.diff.values import differ

CHANGES: Final = (
    "renamed", "moved", "reordered", "kind", "config", "inputs", "reused", "status", "attempts", "provider", "model",
    "prompt", "cache", "output", "error",
    # of a step in one run only:
    "node", "visit", "iteration", "item", "not_reached",
)  # fmt: skip
_RESULTS: Final = frozenset({"status", "output", "error"})
VALUES_MAX: Final = 200  # steps whose values are shown in detail


def compare(a: RunRecord, b: RunRecord, *, values: bool = True) -> TraceDiffReply:
    """Returns the differences from `a` to `b`. values: also what differs inside of inputs and outputs."""
    found = _Comparison(a, b, align(a, b))
    steps = found.steps(values)
    differing = [step for step in steps if step.changes or step.cost_nano or step.latency_ms]
    shown, rest = _bounded(found, differing)
    parts = parts_of(a, b, found.alignment.nodes)
    inputs, output = differ(a.inputs, b.inputs, shown=values), differ(a.output, b.output, shown=values)
    reply = TraceDiffReply(
        a=_run(a),
        b=_run(b),
        same=not (parts or inputs or output or a.status != b.status or any(step.changes for step in steps)),
        summary="",
        parts=parts,
        inputs=inputs,
        output=output,
        steps=tuple(shown),
        rest=rest,
        equal_steps=len(steps) - sum(1 for step in steps if step.changes),
    )
    return msgspec.structs.replace(reply, summary=summarize(reply))


def _bounded(found: _Comparison, steps: list[DiffStep]) -> tuple[list[DiffStep], DiffRest]:
    """Returns the steps that are shown, and the sums of all else: the greatest differences are shown."""
    cost, latency = found.unattributed()
    if len(steps) <= STEPS_MAX:
        return steps, DiffRest(cost_nano=cost, latency_ms=latency)
    order = sorted(
        range(len(steps)), key=lambda n: (not steps[n].changes, -abs(steps[n].cost_nano), -abs(steps[n].latency_ms), n)
    )
    kept = set(order[:STEPS_MAX])
    left = [steps[n] for n in order[STEPS_MAX:]]
    rest = DiffRest(
        steps=len(left),
        cost_nano=cost + sum(step.cost_nano for step in left),
        latency_ms=latency + sum(step.latency_ms for step in left),
    )
    return [step for n, step in enumerate(steps) if n in kept], rest


def _run(run: RunRecord) -> DiffRun:
    return DiffRun(
        run=run.run,
        workflow=run.workflow,
        version=run.version,
        status=run.status,
        submitted_at=run.submitted_at,
        duration_ms=run.duration_ms,
        cost_nano=run.cost_nano,
        input_tokens=run.input_tokens,
        output_tokens=run.output_tokens,
        steps=len(run.steps),
        error=run.error,
        origin=run.origin,
    )


class _Comparison:
    def __init__(self, a: RunRecord, b: RunRecord, alignment: Alignment) -> None:
        self.a, self.b = a, b
        self.alignment = alignment
        self.partners = {name: f"={name}" for name in alignment.nodes.values()}
        self.moved: set[str] = set()  # nodes of b
        self.configured: set[str] = set()
        if a.pinned is not b.pinned and a.pinned.nodes and b.pinned.nodes:
            self._compare_nodes(a.pinned.nodes, b.pinned.nodes, alignment.nodes)

    def _compare_nodes(self, left: Mapping[str, Node], right: Mapping[str, Node], nodes: Mapping[str, str]) -> None:
        before = contracted(left, nodes)
        after = contracted(right, {name: name for name in nodes.values()})
        for name, other in nodes.items():
            old, new = left[name], right[other]
            if before[name] != after[other]:
                self.moved.add(other)
            reads = [nodes.get(read) for read in old.reads]
            if old.content != new.content or old.kind != new.kind or reads != list(new.reads):
                self.configured.add(other)

    def steps(self, values: bool) -> list[DiffStep]:
        """Returns a comparison of every step, the equal ones included."""
        found = [self._step(pair) for pair in self.alignment.steps]
        changed = {node_of(step.b.step) for step in found if step.b is not None and _RESULTS & set(step.changes)}
        detailed = VALUES_MAX if values else 0
        for number, (pair, step) in enumerate(zip(self.alignment.steps, found, strict=True)):
            if not pair.a or not pair.b or not step.changes:
                continue
            old, new = self.a.steps[pair.a], self.b.steps[pair.b]
            shown = detailed > 0
            detailed -= 1
            found[number] = msgspec.structs.replace(
                step,
                first=self._is_first(pair, step, changed),
                inputs=differ(old.inputs, new.inputs, shown=shown),
                output=differ(old.output, new.output, shown=shown),
            )
        return found

    def _is_first(self, pair: Pair, step: DiffStep, changed: set[str]) -> bool:
        """True if the result differs, and no step that the node waits for has another result."""
        if not _RESULTS & set(step.changes):
            return False
        if "inputs" not in step.changes and self.a.steps[pair.a].inputs is not None and self.b.steps[pair.b].inputs:
            return True
        node = self.b.pinned.nodes.get(node_of(pair.b))
        return node is None or not node.sources & changed

    def _step(self, pair: Pair) -> DiffStep:
        old = self.a.steps[pair.a] if pair.a else None
        new = self.b.steps[pair.b] if pair.b else None
        left = _side(old, self.a) if old is not None else None
        right = _side(new, self.b) if new is not None else None
        if old is not None and new is not None:
            changes = self._changes(old, new)
            what = "changed" if changes else "same"
        else:
            changes = (self._alone(pair),)
            what = "added" if new is not None else "removed"
        return DiffStep(
            what=what,
            changes=changes,
            a=left,
            b=right,
            cost_nano=(right.cost_nano if right else 0) - (left.cost_nano if left else 0),
            latency_ms=sum(right.path_ms.values() if right else ()) - sum(left.path_ms.values() if left else ()),
        )

    def _alone(self, pair: Pair) -> str:
        """Returns why a step has no partner."""
        key, here = (pair.a or pair.b), (self.a if pair.a else self.b)
        nodes = self.alignment.nodes
        if node_of(key) not in (nodes if pair.a else self.partners):
            return "node"
        if key.endswith("]"):
            return "item"
        if "@" in key:
            return "iteration"
        if "#" in key and parent_of(key) is None:
            return "visit"
        return "not_reached" if key in here.steps else "node"

    def _changes(self, old: Step, new: Step) -> tuple[str, ...]:
        before, after = old.last, new.last
        whole = new.key == new.node  # what the definition says about the node counts once
        answered = bool(before.model and after.model)  # a step that was skipped asked no model
        differs = {
            "renamed": whole and old.node != new.node,
            "moved": whole and new.node in self.moved,
            "reordered": Pair(old.key, new.key) in self.alignment.reordered,
            "kind": old.kind != new.kind,
            "config": whole and new.node in self.configured,
            "inputs": _unequal(old.inputs, new.inputs),
            "reused": old.reused != new.reused,
            "status": before.status != after.status,
            "attempts": len(old.attempts) != len(new.attempts) and not (old.reused or new.reused),
            "provider": answered and before.provider != after.provider,
            "model": answered and before.model != after.model,
            "prompt": answered and before.prompt != after.prompt,
            "cache": answered and before.cache_hit != after.cache_hit,
            "output": _unequal(old.output, new.output),
            "error": before.error != after.error,
        }
        return tuple(name for name, is_so in differs.items() if is_so)

    def unattributed(self) -> tuple[int, int]:
        """Returns the differences of cost and duration that belong to no step."""
        cost = latency = 0
        for run, sign in ((self.a, -1), (self.b, 1)):
            own = sum(attempt.cost_nano for step in run.steps.values() for attempt in step.attempts)
            cost += sign * (run.cost_nano - own)
            shares = sum(sum(kinds.values()) for step, kinds in run.path.items() if step in run.steps)
            latency += sign * (run.duration_ms - shares)
        return cost, latency


def _unequal(old: Value | None, new: Value | None) -> bool:
    return old is not None and new is not None and old.sha256 != new.sha256


def _side(step: Step, run: RunRecord) -> DiffSide:
    last = step.last
    return DiffSide(
        step=step.key,
        kind=step.kind,
        status=last.status,
        attempts=len(step.attempts),
        provider=last.provider,
        model=last.model,
        prompt=last.prompt,
        input_tokens=sum(attempt.input_tokens for attempt in step.attempts),
        output_tokens=sum(attempt.output_tokens for attempt in step.attempts),
        cost_nano=sum(attempt.cost_nano for attempt in step.attempts),
        work_ms=sum(round(attempt.duration_ms) for attempt in step.attempts),
        wait_ms=sum(attempt.wait_ms for attempt in step.attempts),
        path_ms=run.path.get(step.key, {}),
        cache_hit=last.cache_hit,
        reused=step.reused,
        child=step.child,
        error=last.error,
        reason=last.reason,
    )
