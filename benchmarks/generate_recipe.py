"""Writes a synthetic workflow: RECIPE TASKS SEED FILE. Runs where `wfcommons` is installed; imports nothing of ours."""

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
    made = getattr(recipes, RECIPES[recipe]).from_num_tasks(int(tasks))
    generator(made).build_workflow().write_json(Path(target))


if __name__ == "__main__":
    main()
