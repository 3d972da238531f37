"""`python -m benchmarks [--only GROUP]... [--runs N]`"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks import aged, door, engine, lanes, recipes, waiting
from benchmarks.output import Emit, attempt, emit, interruptible
from benchmarks.trace import ingest as trace_ingest
from benchmarks.trace import queries as trace_queries

Part = Callable[[Emit, argparse.Namespace], Coroutine[Any, Any, None]]
# In the order of a whole run, most interesting first. Each part has its own log and fails alone.
GROUPS: dict[str, tuple[Part, ...]] = {
    "engine": (engine.run,),
    "engine-long": (engine.wide, waiting.run, aged.run),
    "wfcommons": (recipes.run,),
    "lanes": (lanes.run,),
    "door": (door.run,),
    "trace": (trace_ingest.run, trace_ingest.freshness),
    "trace-long": (trace_queries.run,),
}


def measure(groups: list[str], options: argparse.Namespace) -> int:
    """Runs the groups. Returns 1 if a part failed."""
    good = True
    for group in groups:
        print(f"group {group}", file=sys.stderr)
        began = time.monotonic()
        for part in GROUPS[group]:
            good &= attempt(f"{part.__module__}.{part.__name__} of group {group}", part(emit, options))
        print(f"group {group} took {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=list(GROUPS), action="append", help="a group; repeat the option for several")
    parser.add_argument("--runs", type=int, default=100_000, help="finished runs in the aged log (%(default)s)")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be 1 or more")
    return measure(options.only or list(GROUPS), options)


if __name__ == "__main__":
    sys.exit(interruptible(main))
