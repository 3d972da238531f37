"""Plays cases on all processors: `python tests/fuzz/run.py --cases 20000 --start 0`, or one: `--case 42`."""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from affuzz.world import play  # noqa: E402

CHUNK = 50  # cases that a process takes at a time
PROGRESS_S = 10.0


class Played(NamedTuple):
    """end: how the run ended; empty for a case that shows a fault, which `fault` tells."""

    case: int
    end: str
    fault: str


def played(case: int) -> Played:
    loop = asyncio.new_event_loop()
    try:
        return Played(case, play(case, loop), "")
    except Exception as error:
        traceback.print_exc()
        return Played(case, "", f"{type(error).__name__}: {str(error)[:500]}")
    finally:
        loop.close()


def _begin() -> None:
    """In a process of the pool: an interrupt ends it at once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _all(cases: Sequence[int], jobs: int) -> Iterator[Played]:
    if jobs == 1 or len(cases) == 1:
        yield from map(played, cases)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin) as pool:
        yield from pool.map(played, cases, chunksize=min(CHUNK, -(-len(cases) // jobs)))


def run(cases: Sequence[int], jobs: int) -> int:
    """The exit code: 1 if a case shows a fault."""
    began = said = time.perf_counter()
    ends: Counter[str] = Counter()
    faults = 0
    for each in _all(cases, jobs):
        if each.end:
            ends[each.end] += 1
        else:
            faults += 1
            print(f"FAILED case {each.case}: {each.fault}\n  reproduce: make fuzz CASE={each.case}", flush=True)
        if time.perf_counter() - said > PROGRESS_S:
            said = time.perf_counter()
            print(f"{sum(ends.values()) + faults:,} of {len(cases):,} cases, {faults} failed", file=sys.stderr)
    done = sum(ends.values()) + faults
    told = ", ".join(f"{count:,} {end}" for end, count in ends.most_common())
    print(f"{done:,} cases, {faults} failed, {done / (time.perf_counter() - began):.0f} cases/s: {told}")
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="how many (%(default)s)")
    parser.add_argument("--start", type=int, default=0, help="the first one (%(default)s)")
    parser.add_argument("--case", type=int, help="this one alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)")
    args = parser.parse_args()
    cases = range(args.start, args.start + args.cases) if args.case is None else [args.case]
    return run(cases, args.jobs)


if __name__ == "__main__":
    sys.exit(main())
