"""`python -m benchmarks [--only GROUP] [--runs N]`"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
from typing import Any

GROUPS = {"engine": "engine", "engine-long": "engine_long", "wfcommons": "recipes", "lanes": "lanes"}


def emit(name: str, value: float, unit: str, n: int, durability: str, replicas: int = 1, **more: Any) -> None:
    """One figure. n: rounds (or samples) that the median is of."""
    line = {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "n": n,
        "durability": durability,
        "replicas": replicas,
        **more,
    }
    print(json.dumps(line), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=list(GROUPS), help="run one group")
    parser.add_argument("--runs", type=int, default=100_000, help="finished runs in the aged log (%(default)s)")
    options = parser.parse_args()
    for group in GROUPS if options.only is None else (options.only,):
        print(f"group {group}", file=sys.stderr)
        module = importlib.import_module(f"benchmarks.{GROUPS[group]}")
        asyncio.run(module.run(emit, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
