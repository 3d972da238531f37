"""A comparison of two runs finds every planted difference and no other one, and its parts sum to the whole."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from agentflow_common.rpc import DiffStep, TraceDiffReply
from agentflow_trace.diff.compare import compare
from tests.property.diff_world import MUTATIONS, Planting, Truth, world

SEEDS = range(20)


def _found(reply: TraceDiffReply) -> Truth:
    return {
        (change, step.a.step if step.a else "", step.b.step if step.b else "")
        for step in reply.steps
        for change in step.changes
    }


def check_sums(reply: TraceDiffReply) -> None:
    """The parts sum to the differences of the runs."""
    cost = sum(step.cost_nano for step in reply.steps) + reply.rest.cost_nano
    latency = sum(step.latency_ms for step in reply.steps) + reply.rest.latency_ms
    assert cost == reply.b.cost_nano - reply.a.cost_nano
    assert latency == reply.b.duration_ms - reply.a.duration_ms


def check_found(reply: TraceDiffReply, planting: Planting) -> None:
    """What was found is what was planted."""
    assert _found(reply) == planting.expected()


def _planted(seed: int, count: int, *only: str) -> Planting | None:
    rng = random.Random(f"{seed} {count} {only}")
    planting = Planting(world(rng), rng)
    for what in only or rng.sample(MUTATIONS, count):
        if not planting.plant(what) and only:
            return None
    return planting


def _check(planting: Planting) -> TraceDiffReply:
    a, b = planting.old.play("run_a"), planting.new.play("run_b")
    reply = compare(a, b)
    check_found(reply, planting)
    check_sums(reply)
    for ident, added in planting.slower.items():
        name = planting.new.names[ident]
        attempts = planting.new.behaviours[ident].failures + 1
        step = next((step for step in reply.steps if step.b is not None and step.b.step == name), None)
        if step is not None and step.a is not None and step.b is not None and attempts == 1:
            assert step.b.work_ms - step.a.work_ms == added
    return reply


@pytest.mark.parametrize("what", MUTATIONS)
def test_each_planted_difference_is_found_and_nothing_else(what: str) -> None:
    planted = 0
    for seed in SEEDS:
        planting = _planted(seed, 1, what)
        if planting is not None:
            planted += 1
            _check(planting)
    assert planted >= 5


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_combinations_of_planted_differences_are_found_and_nothing_else(count: int) -> None:
    for seed in SEEDS:
        planting = _planted(seed, count)
        assert planting is not None
        _check(planting)


def test_a_run_does_not_differ_from_itself() -> None:
    for seed in SEEDS:
        record = world(random.Random(seed)).play("run_a")
        reply = compare(record, record)
        assert (reply.same, reply.steps, reply.parts) == (True, (), ())
        assert (reply.inputs, reply.output, reply.rest.cost_nano, reply.rest.latency_ms) == (None, None, 0, 0)


def test_two_equal_runs_differ_in_nothing() -> None:
    for seed in SEEDS:
        planted = world(random.Random(seed))
        reply = compare(planted.play("run_a"), planted.play("run_b"))
        assert (reply.same, reply.steps) == (True, ())


def _mirrored(step: DiffStep) -> DiffStep:
    what = {"added": "removed", "removed": "added"}.get(step.what, step.what)
    return msgspec.structs.replace(
        step, what=what, a=step.b, b=step.a, cost_nano=-step.cost_nano, latency_ms=-step.latency_ms,
        inputs=None, output=None,
    )  # fmt: skip


def _sorted(steps: Any) -> list[bytes]:
    return sorted(msgspec.json.encode(msgspec.structs.replace(step, inputs=None, output=None)) for step in steps)


def test_the_comparison_in_the_other_direction_is_the_mirror() -> None:
    for seed in SEEDS:
        planting = _planted(seed, 6)
        assert planting is not None
        a, b = planting.old.play("run_a"), planting.new.play("run_b")
        there, back = compare(a, b), compare(b, a)
        assert _sorted(map(_mirrored, there.steps)) == _sorted(back.steps)
        assert (there.a, there.b) == (back.b, back.a)
        assert there.same == back.same
        check_sums(back)


def test_the_worlds_are_varied() -> None:
    """The other tests mean something only if the worlds have what they are about."""
    truths = [planting.truth for seed in SEEDS if (planting := _planted(seed, 5)) is not None]
    assert {change for truth in truths for change, _, _ in truth} == {
        "renamed", "moved", "node", "attempts", "model", "output", "inputs", "reordered", "item", "iteration", "status",
    }  # fmt: skip
