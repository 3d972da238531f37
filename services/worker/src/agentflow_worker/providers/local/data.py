"""The tables of words, signs and patterns beside the modules that use them."""

from __future__ import annotations

import csv
import tomllib
from importlib.resources import files
from typing import Any


def table(name: str) -> dict[str, Any]:
    """Returns the contents of `<name>.toml`."""
    return tomllib.loads(_text(f"{name}.toml"))


def rows(name: str) -> list[list[str]]:
    """Returns the rows of `<name>.csv`, the heading first."""
    return list(csv.reader(_text(f"{name}.csv").splitlines()))


def _text(file: str) -> str:
    return files(__package__).joinpath(file).read_text("utf-8")
