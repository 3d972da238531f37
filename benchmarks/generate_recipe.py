"""Writes a synthetic workflow: RECIPE TASKS SEED FILE.

It runs where `wfcommons` is installed and imports no module of this project.
"""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path
from typing import Any

RECIPES = {
    "montage": "MontageRecipe",
    "epigenomics": "EpigenomicsRecipe",
    "1000genome": "GenomeRecipe",
    "seismology": "SeismologyRecipe",
    "srasearch": "SrasearchRecipe",
}


def main() -> None:
    recipe, tasks, seed, target = sys.argv[1:]
    random.seed(int(seed))
    importlib.import_module("numpy").random.seed(int(seed))
    recipes: Any = importlib.import_module("wfcommons.wfchef.recipes")
    generator: Any = importlib.import_module("wfcommons").WorkflowGenerator
    made = getattr(recipes, RECIPES[recipe]).from_num_tasks
    for count in (
        int(tasks),
        int(tasks) * 11 // 10,
    ):  # a recipe's smallest workflow may have more tasks (Seismology: 103)
        try:
            workflow = generator(made(count)).build_workflow()
        except ValueError as error:
            print(f"{recipe}: {error}", file=sys.stderr)
        else:
            workflow.write_json(Path(target))
            return
    sys.exit(1)


if __name__ == "__main__":
    main()
