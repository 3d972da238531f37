"""Group `lanes`: steps in keyed lanes, in turn with the same steps without lanes."""

from __future__ import annotations

import statistics
from typing import Any

from agentflow_common.definition.parse import parse_dict
from benchmarks.drive import drive
from benchmarks.output import Emit
from benchmarks.stack import Engine, chain, engine

ROUNDS = 3
RUNS_PER_ROUND = 100
IN_FLIGHT = 50
CHAIN = 10
LANES = {
    # the two extremes: one busy lane that all runs share, and a lane for each run
    "one_lane": "all-{{org}}",
    "lane_per_run": "{{org}}-{{run}}",
}


def keyed(lane: str, limit: int) -> dict[str, Any]:
    """Returns the chain of the engine's benchmark, with each step in a keyed lane."""
    definition: Any = chain(CHAIN)
    for node in definition["dag"]["nodes"]:
        node["lane"], node["lane_limit"] = lane, limit
    return parse_dict(definition).canonical()


async def run(emit: Emit, _options: object) -> None:
    async with engine() as stack:
        plain = chain(CHAIN)
        definitions = {name: keyed(lane, 1000) for name, lane in LANES.items()}
        await drive(stack, plain, 50, IN_FLIGHT)
        found: dict[str, list[float]] = {"plain": [], **{name: [] for name in definitions}}
        for _ in range(ROUNDS):  # in turn, so that both sides are measured in the same minute
            for name, definition in {"plain": plain, **definitions}.items():
                found[name].append(await _rate(stack, definition))
        rate = statistics.median(found["plain"])
        for name in definitions:
            keyed_rate = statistics.median(found[name])
            emit(f"engine.{name}.steps_per_s", keyed_rate, "steps/s", ROUNDS, stack.durability, in_flight=IN_FLIGHT)
            emit(f"engine.{name}.share_of_plain", keyed_rate / rate, "ratio", ROUNDS, stack.durability)
        for name, definition in {"plain": plain, **definitions}.items():
            times = [await drive(stack, definition) / CHAIN * 1000 for _ in range(20)]
            emit(f"engine.{name}.sequential_step_ms", statistics.median(times), "ms", 20, stack.durability)


async def _rate(stack: Engine, definition: dict[str, Any]) -> float:
    return RUNS_PER_ROUND * CHAIN / await drive(stack, definition, RUNS_PER_ROUND, IN_FLIGHT)
