"""Plays seeds on all processors: `python tests/simulation/run.py --seeds 10000 --start 0`, or one: `--seed 42`."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from afsim.mutations import MUTATIONS, planted
from afsim.world import simulate

CHUNK = 8  # seeds that a process takes at a time
PROGRESS_S = 10.0
INTERRUPTED = 130
_bug = contextlib.ExitStack()  # of a process of the pool: open while it lives


class Played(NamedTuple):
    """violations: at most three. cpu_s: processor time."""

    seed: int
    violations: list[str]
    probes: int
    in_chains: int
    cpu_s: float


def play(seed: int) -> Played:
    """A seed that ends in an exception has failed, too."""
    began = time.process_time()
    try:
        world = simulate(seed)
    except Exception as error:
        traceback.print_exc()
        return Played(seed, [f"{type(error).__name__}: {error}"], 0, 0, time.process_time() - began)
    return Played(seed, world.violations[:3], world.probes, world.in_chains, time.process_time() - began)


def begin(mutation: str | None) -> None:
    """In a process of the pool: Ctrl-C and the parent's death end it at once; the bug stays planted while it lives."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    _bug.enter_context(planted(mutation))


def played(seeds: Sequence[int], mutation: str | None, jobs: int) -> Iterator[Played]:
    """In the order of the seeds."""
    if jobs == 1 or len(seeds) == 1:
        with planted(mutation):
            yield from map(play, seeds)
        return
    # forked where that can be: the engine is imported once, and nothing runs yet that a fork could break
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(min(jobs, len(seeds)), mp_context=context, initializer=begin, initargs=(mutation,))
    try:
        yield from pool.map(play, seeds, chunksize=min(CHUNK, -(-len(seeds) // jobs)))
    except BaseException:  # an interrupt, too: nobody waits for the seeds in hand
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def run(seeds: Sequence[int], mutation: str | None, jobs: int) -> int:
    """The exit code: 1 if a seed failed."""
    began, said = time.perf_counter(), time.perf_counter()
    done = failed = probes = in_chains = 0
    cpu_s, interrupted = 0.0, False
    try:
        for each in played(seeds, mutation, jobs):
            done += 1
            probes += each.probes
            in_chains += each.in_chains
            cpu_s += each.cpu_s
            if each.violations:
                failed += 1
                report(each, mutation)
            if time.perf_counter() - said > PROGRESS_S:
                said = time.perf_counter()
                print(
                    f"{done:,} of {len(seeds):,} seeds, {failed} failed, {done / (said - began):.1f} seeds/s",
                    file=sys.stderr,
                )
    except KeyboardInterrupt:
        interrupted = True
    speed = f"{done / (time.perf_counter() - began):.1f} seeds/s ({done / cpu_s if cpu_s else 0:.1f} a processor)"
    what = f"interrupted after {done} of {len(seeds)}" if interrupted else f"{done}"
    print(f"{what} seeds, {failed} failed, {speed}, {probes} states compared, {in_chains} steps in chains")
    return 1 if failed else INTERRUPTED if interrupted else 0


def report(failure: Played, mutation: str | None) -> None:
    """What was violated, and the line that plays it again."""
    command = f"make simulate SEED={failure.seed}"
    if mutation:
        command = f".venv/bin/python tests/simulation/run.py --seed {failure.seed} --mutation {mutation}"
    print(f"FAILED seed {failure.seed}: {'; '.join(failure.violations)}\n  reproduce: {command}", flush=True)


def at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {least} or more")
        return int(text)

    return parse


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__)
    parser.add_argument("--seeds", type=at_least(1), default=1000, help="how many (%(default)s)")
    parser.add_argument("--start", type=at_least(0), default=0, help="the first one (%(default)s)")
    parser.add_argument("--seed", type=at_least(0), help="this one alone")
    parser.add_argument("--jobs", type=at_least(1), default=os.cpu_count() or 1, help="processes (%(default)s)")
    parser.add_argument(
        "--mutation", choices=sorted(MUTATIONS), metavar="NAME", help="a bug to plant (afsim/mutations*.py)"
    )
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, in the background too
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    seeds = range(args.start, args.start + args.seeds) if args.seed is None else [args.seed]
    return run(seeds, args.mutation, args.jobs)


if __name__ == "__main__":
    sys.exit(main())
