"""Group `wfcommons`: the shapes of published scientific workflows, made by the `wfcommons` package
(WfChef recipes).

The package and its dependencies stay out of our environment. If it can't be imported, it is
installed into a separate one.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.drive import drive
from benchmarks.output import Emit
from benchmarks.stack import HERE, chain, engine
from benchmarks.wfformat import SLOTS, load, measure, scaled

RECIPES = ("montage", "epigenomics", "1000genome", "seismology", "srasearch")
SIZES = {100: 2.0, 1000: 4.0, 5000: 10.0}  # number of tasks: lower bound in seconds, to which the scale is chosen
SEED = 1
PACKAGE = "wfcommons==1.6"
ENVIRONMENT = HERE.parent / ".build" / "wfcommons"
WORKFLOWS = HERE.parent / ".build" / "workflows" / PACKAGE


async def run(emit: Emit, _options: object) -> None:
    python = _python()
    if python is None:
        print(f"group wfcommons is left out: {PACKAGE} can't be installed here", file=sys.stderr)
        return
    asked = [(recipe, size) for size in SIZES for recipe in RECIPES]
    at_once = asyncio.Semaphore(os.cpu_count() or 1)
    made = await asyncio.gather(*(_generate(python, recipe, size, at_once) for recipe, size in asked))
    async with engine(concurrency=SLOTS) as stack:
        await drive(stack, chain(10), 100, 50)
        for (recipe, size), file in zip(asked, made, strict=True):
            if file is not None:
                await measure(stack, emit, scaled(recipe, load(file), SLOTS, bound_s=SIZES[size], asked=size))


async def _generate(python: str, recipe: str, size: int, at_once: asyncio.Semaphore) -> Path | None:
    """Generates a workflow, or returns the stored one: 5,000 tasks take up to a minute.

    Returns None if the package can't make that many.
    """
    target = WORKFLOWS / f"{recipe}-{size}-seed{SEED}.json"
    if target.exists():
        return target
    WORKFLOWS.mkdir(parents=True, exist_ok=True)
    written = target.with_suffix(".new")
    command = [python, str(HERE / "generate_recipe.py"), recipe, str(size), str(SEED), str(written)]
    env = {**os.environ, "PYTHONHASHSEED": "0"}  # the recipes iterate over sets
    async with at_once:
        print(f"{recipe}: generating {size} tasks", file=sys.stderr)
        process = await asyncio.create_subprocess_exec(*command, stdout=sys.stderr, cwd=WORKFLOWS, env=env)
        try:
            failed = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
    if failed:
        print(f"{recipe} with {size} tasks is left out: {PACKAGE} can't make it", file=sys.stderr)
        return None
    return written.rename(target)


def _python() -> str | None:
    """Returns an interpreter that can import wfcommons, or None."""
    if importlib.util.find_spec("wfcommons") is not None:
        return sys.executable
    python = ENVIRONMENT / "bin" / "python"
    if python.exists() and subprocess.run([python, "-c", "import wfcommons"], check=False).returncode == 0:
        return str(python)
    print(f"installing {PACKAGE} into {ENVIRONMENT.relative_to(HERE.parent)}", file=sys.stderr)
    steps = (["venv", "--quiet", "--allow-existing", str(ENVIRONMENT)], ["pip", "install", "--quiet", PACKAGE])
    for step in steps:
        extra = ["--python", str(python)] if step[0] == "pip" else ["--python", sys.executable]
        if subprocess.run([sys.executable, "-m", "uv", *step, *extra], check=False).returncode:
            return None
    return str(python)
