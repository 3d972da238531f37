"""Plays seeds: `python tests/simulation/run.py --seeds 10000 --start 0`, or one: `--seed 42`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from afsim.mutations import MUTATIONS, planted
from afsim.world import simulate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--mutation", choices=sorted(MUTATIONS))
    args = parser.parse_args()
    seeds = [args.seed] if args.seed is not None else range(args.start, args.start + args.seeds)
    began, began_cpu, failed, probes, rows = time.perf_counter(), time.process_time(), 0, 0, 0
    with planted(args.mutation):
        for seed in seeds:
            world = simulate(seed)
            probes += world.probes
            rows += world.rows
            if world.violations:
                failed += 1
                mutation = f" --mutation {args.mutation}" if args.mutation else ""
                print(f"FAILED seed {seed}: {'; '.join(world.violations[:3])}")
                command = (
                    f".venv/bin/python tests/simulation/run.py --seed {seed}{mutation}"
                    if mutation
                    else f"make simulate SEED={seed}"
                )
                print(f"  reproduce: {command}", flush=True)
    took, worked = time.perf_counter() - began, time.process_time() - began_cpu
    speed = f"{len(seeds) / took:.1f} seeds/s ({len(seeds) / worked:.1f} by processor time)"
    print(f"{len(seeds)} seeds, {failed} failed, {speed}, {probes} states compared, {rows} steps in a row")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
