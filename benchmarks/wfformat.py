"""`python -m benchmarks.wfformat FILE... [--scale S]`: runs workflows in WfFormat JSON through the real engine.

Each task sleeps its runtime times the scale; the figure is the makespan over its lower bound (the longer of critical
path and total work per slot), so 1.0 is what no engine can beat.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import workflow_shapes as shapes
from benchmarks.drive import drive
from benchmarks.output import Emit, emit
from benchmarks.stack import Engine, chain, engine

SLOTS = 64
BOUND_S = 5.0
ROUNDS = 3


async def measure(
    stack: Engine,
    emit: Emit,
    name: str,
    tasks: list[shapes.Task],
    slots: int,
    scale: float,
    rounds: int = ROUNDS,
    asked: int | None = None,
) -> float:
    """The ratio. slots: the worker's concurrency. asked: tasks asked of the recipe, which makes about as many."""
    scaled = [task._replace(seconds=round(task.seconds * scale, 6)) for task in tasks]
    bound_s = shapes.lower_bound_s(scaled, slots)
    definition = shapes.definition(f"w_{name}"[:64], tasks, scale)
    times = []
    for number in range(rounds):
        times.append(await drive(stack, definition))
        print(f"{name} round {number + 1}/{rounds}: {times[-1]:.2f} s, bound {bound_s:.2f} s", file=sys.stderr)
    ratio = statistics.median(times) / bound_s
    emit(
        f"engine.wfcommons.{name}.{asked or len(tasks)}.makespan_ratio", ratio, "ratio", rounds, stack.durability,
        tasks=len(tasks), slots=slots, scale=round(scale, 6), bound_s=round(bound_s, 3),
        ratio_of_first_run=round(times[0] / bound_s, 4),  # it compiles the definition as well
        ratio_without_overhead=round(shapes.greedy_s(scaled, slots) / bound_s, 4),
    )  # fmt: skip
    return ratio


def scale_for(tasks: list[shapes.Task], slots: int, bound_s: float) -> float:
    """The scale that gives this lower bound."""
    whole_s = shapes.lower_bound_s(tasks, slots)
    return bound_s / whole_s if whole_s else 1.0


def load(path: Path) -> list[shapes.Task]:
    """Raises ValueError that names the file."""
    try:
        return shapes.parse(json.loads(path.read_bytes()))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # a JSONDecodeError and a UnicodeDecodeError are of these
        raise ValueError(f"{path}: {error}") from None


def _positive(kind: Callable[[str], float]) -> Callable[[str], Any]:
    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return parse


def _word(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)


async def _main(options: argparse.Namespace) -> None:
    workflows = [(_word(path), load(path)) for path in options.files]  # all are read before the first one runs
    async with engine(concurrency=options.slots) as stack:
        await drive(stack, chain(10), 20, 10)
        for name, tasks in workflows:
            scale = options.scale or scale_for(tasks, options.slots, BOUND_S)
            await measure(stack, emit, name, tasks, options.slots, scale, options.rounds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wfformat", description=__doc__)
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a workflow in WfFormat JSON, schema 1.4 or 1.5"
    )
    parser.add_argument(
        "--scale", type=_positive(float), help=f"seconds per stated second (default: a bound of {BOUND_S:g} s)"
    )
    parser.add_argument("--slots", type=_positive(int), default=SLOTS, help="tasks that run at once (%(default)s)")
    parser.add_argument(
        "--rounds", type=_positive(int), default=ROUNDS, help="the median of so many runs (%(default)s)"
    )
    try:
        asyncio.run(_main(parser.parse_args()))
    except (OSError, ValueError, RuntimeError) as error:
        print(f"wfformat: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
