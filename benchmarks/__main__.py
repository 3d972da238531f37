"""`python -m benchmarks [--only GROUP]`"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
from typing import Any

GROUPS = ("engine",)


def emit(name: str, value: float, unit: str, n: int, durability: str, replicas: int = 1, **more: Any) -> None:
    """One figure. n: rounds that the median is of."""
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
    parser.add_argument("--only", choices=GROUPS, help="run one group")
    chosen = parser.parse_args().only
    for group in GROUPS if chosen is None else (chosen,):
        print(f"group {group}", file=sys.stderr)
        asyncio.run(importlib.import_module(f"benchmarks.{group}").run(emit))
    return 0


if __name__ == "__main__":
    sys.exit(main())
