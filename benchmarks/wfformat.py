"""`python -m benchmarks.wfformat FILE... [--scale S]`: runs workflows in WfFormat JSON through the
real engine.

Each task sleeps its runtime times the scale. The figure is the makespan divided by its lower bound,
the longer of critical path and total work per slot. No engine can be below 1.0.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import math
import re
import statistics
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from agentflow_common.definition.nodes.base import NODES_MAX
from agentflow_common.errors import AgentFlowError
from agentflow_gateway.runs.submission import EVENT_BYTES_MAX
from benchmarks import workflow_shapes as shapes
from benchmarks.drive import SILENCE_S_MAX, drive
from benchmarks.output import Emit, emit, interruptible
from benchmarks.stack import Engine, chain, engine

SLOTS = 64
SLOTS_MAX = 1000  # the worker's own bound
BOUND_S = 5.0
ROUNDS = 3


class Workflow(NamedTuple):
    """A workflow that is ready to run."""

    name: str
    tasks: list[shapes.Task]  # with scaled runtimes
    definition: dict[str, object]
    slots: int
    scale: float
    bound_s: float
    greedy_s: float
    asked: int  # the number of tasks requested of a recipe, which makes about as many


def scaled(
    name: str,
    tasks: list[shapes.Task],
    slots: int,
    *,
    scale: float | None = None,
    bound_s: float = BOUND_S,
    asked: int = 0,
) -> Workflow:
    """Scales a workflow. Raises ValueError.

    slots: the worker's concurrency. Without a scale, it is chosen for the given bound.
    """
    if not any(task.seconds for task in tasks):
        raise ValueError("all its runtimes are 0, so it has no lower bound to compare with")
    if len(tasks) > NODES_MAX:
        raise ValueError(f"it has {len(tasks):,} tasks; a workflow has at most {NODES_MAX:,}")
    chosen = scale or bound_s / shapes.lower_bound_s(tasks, slots)
    quick = [task._replace(seconds=task.seconds * chosen) for task in tasks]
    bound = shapes.lower_bound_s(quick, slots)
    if not 1e-3 <= bound < math.inf:
        raise ValueError(
            f"its lower bound is {bound:g} s with a scale of {chosen:g}: choose a --scale for a bound of some seconds"
        )
    try:
        definition = shapes.definition(f"w_{name}"[:64], quick)
    except AgentFlowError as error:
        raise ValueError(f"{len(tasks):,} tasks: {error}") from None
    if (size := len(msgspec.json.encode(definition))) > EVENT_BYTES_MAX:
        edges = sum(len(task.parents) for task in tasks)
        held = f"{size:,} bytes as a definition; a run takes at most {EVENT_BYTES_MAX:,}"
        raise ValueError(f"its {len(tasks):,} tasks and {edges:,} edges are {held}")
    return Workflow(name, quick, definition, slots, chosen, bound, shapes.greedy_s(quick, slots), asked or len(tasks))


async def measure(stack: Engine, emit: Emit, workflow: Workflow, rounds: int = ROUNDS, **more: Any) -> float:
    """Measures a workflow and returns the ratio. more: further fields of its line."""
    name, bound_s = workflow.name, workflow.bound_s
    about = f"{len(workflow.tasks):,} tasks, {rounds} rounds of {workflow.greedy_s:,.1f} s or more"
    print(f"{name}: {about}, bound {bound_s:,.2f} s", file=sys.stderr)
    times = []
    for number in range(rounds):
        silence_s_max = SILENCE_S_MAX + 2 * workflow.greedy_s
        times.append(await drive(stack, workflow.definition, silence_s_max=silence_s_max))
        print(f"{name} round {number + 1}/{rounds}: {times[-1]:.2f} s, bound {bound_s:.2f} s", file=sys.stderr)
    ratio = statistics.median(times) / bound_s
    emit(
        f"engine.wfcommons.{name}.{workflow.asked}.makespan_ratio", ratio, "ratio", rounds, stack.durability,
        tasks=len(workflow.tasks), slots=workflow.slots, scale=float(f"{workflow.scale:.6g}"),
        bound_s=round(bound_s, 3),
        ratio_of_first_run=round(times[0] / bound_s, 4),  # including the compilation of the definition
        ratio_without_overhead=round(workflow.greedy_s / bound_s, 4), **more,
    )  # fmt: skip
    return ratio


def load(path: Path, default_s: float | None = None) -> list[shapes.Task]:
    """Returns the file's tasks. It may be gzipped. Raises ValueError, which names the file."""
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        return shapes.parse(_read(data), default_s)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ValueError(f"{path}: its gzip data is damaged") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read(data: bytes) -> object:
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("not WfFormat: it is nested too deep") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are subclasses
        raise ValueError(f"not JSON: {error}") from None


def _above_0(kind: Callable[[str], float], most: float = math.inf) -> Callable[[str], Any]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (0 < value <= most and value < math.inf):
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(
                f"{text} is not {what} above 0" + (f", at most {most}" if most < math.inf else "")
            )
        return value

    return parse


def _word(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", path.name.removesuffix(".gz").removesuffix(".json"))


def _ready(path: Path, options: argparse.Namespace) -> Workflow:
    tasks = load(path, options.default_runtime)
    try:
        return scaled(_word(path), tasks, options.slots, scale=options.scale)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


async def _run(files: list[Path], workflows: list[Workflow], options: argparse.Namespace) -> int:
    """Runs the workflows. Returns 1 if one of them failed."""
    failed = 0
    async with engine(concurrency=options.slots) as stack:
        await drive(stack, chain(10), 20, 10)
        for path, workflow in zip(files, workflows, strict=True):
            try:
                await measure(stack, emit, workflow, options.rounds, file=str(path))
            except RuntimeError as error:
                failed = 1
                print(f"wfformat: {path}: {error}", file=sys.stderr)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wfformat", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a workflow in WfFormat JSON (or .json.gz)")
    parser.add_argument(
        "--scale", type=_above_0(float), help=f"seconds per stated second (default: a bound of {BOUND_S:g} s)"
    )
    parser.add_argument(
        "--slots", type=_above_0(int, SLOTS_MAX), default=SLOTS, help="tasks that run at once (%(default)s)"
    )
    parser.add_argument(
        "--rounds", type=_above_0(int), default=ROUNDS, help="the number of runs of the median (%(default)s)"
    )
    parser.add_argument(
        "--default-runtime", type=_above_0(float), metavar="SECONDS", help="for tasks without a runtime (else an error)"
    )
    options = parser.parse_args()
    try:
        # all are read before the first one runs
        return asyncio.run(_run(options.files, [_ready(path, options) for path in options.files], options))
    except (OSError, ValueError, RuntimeError) as error:
        print(f"wfformat: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(interruptible(main))
