"""Random loops of edges: the counts of a run are right, in whatever order its steps are looked at after a crash."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common.subjects import EntityKey
from agentflow_scheduler.runs.run import Run

from .entities_world import World


class ShuffledWorld(World):
    """After a crash the steps are looked at in any order."""

    def adopt(self, key: EntityKey, state: Any) -> None:
        super().adopt(key, state)
        entity = self.memory[key]
        if isinstance(entity, Run):
            entity.dirty = dict.fromkeys(self.random.sample([*entity.dirty], len(entity.dirty)))


@st.composite
def loops(draw: st.DrawFn) -> dict[str, Any]:
    """A line of functions with further edges, and with loops that lie beside or within each other."""
    count = draw(st.integers(2, 6))
    nodes = [
        {"id": f"n{at}", "type": "function", "policy": {"on_failure": "continue"}, "config": {"function_name": "f"}}
        for at in range(count)
    ]
    edges: list[dict[str, Any]] = [{"from": f"n{at}", "to": f"n{at + 1}"} for at in range(count - 1)]
    found: list[tuple[int, int]] = []
    for _ in range(draw(st.integers(1, 3))):
        first, last = sorted((draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))))
        apart = (last < a or b < first or (a <= first and last < b) or (first <= a and b < last) for a, b in found)
        if all(apart):
            found.append((first, last))
            condition = f"n{last}.status == '{draw(st.sampled_from(['completed', 'failed']))}'"
            back = {"from": f"n{last}", "to": f"n{first}", "condition": condition, "max_iterations": 2}
            edges.append(back)
    pairs = [(source, target) for target in range(count) for source in range(target - 1)]
    edges += [{"from": f"n{source}", "to": f"n{target}"} for source, target in pairs if draw(st.integers(0, 3)) == 0]
    return {"name": "w", "inputs": {"go": {"type": "boolean"}}, "dag": {"nodes": nodes, "edges": edges}}


@given(loops(), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_the_order_in_which_steps_are_looked_at_makes_no_difference(definition: dict[str, Any], seed: int) -> None:
    world = ShuffledWorld(definition, seed, crashes=True)
    world.play(-1, -1)
    world.check()
