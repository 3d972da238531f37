"""The file `.env` beside the data dir: variables for `agentctl up`. The real environment wins over it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agentflow_common.embedded.servers import StackError

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def beside(data_dir: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables of the `.env` beside a data dir. Raises StackError with every problem of the file.

    Those that the environment has are left out.
    """
    path = path_of(data_dir)
    if not path.is_file():
        return {}
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise StackError(
            f"{path} can't be read ({type(error).__name__}); make it readable text in UTF-8, or remove it"
        ) from None
    found, problems = variables(text, environment)
    if problems:
        raise StackError("\n  ".join([f"{path} is not valid:", *problems]))
    return {name: value for name, value in found.items() if name not in environment}


def path_of(data_dir: Path) -> Path:
    """Returns the `.env` that belongs to a data dir."""
    return data_dir.absolute().parent / ".env"


def not_read(data_dir: Path, folder: Path) -> Path | None:
    """Returns the `.env` of a folder if there is one and the stack of this data dir does not read it."""
    path = folder / ".env"
    return path if path.is_file() and path.resolve() != path_of(data_dir).resolve() else None


def variables(text: str, environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Returns (the variables of the text, its problems, each with its line). A problem repeats no value.

    `${NAME}` and `${NAME:-default}` are replaced, unless the value stands in single quotes: by the environment, or
    else by an earlier line.
    """
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    problems: list[str] = []
    for binding in parse_stream(io.StringIO(text)):
        source = binding.original.string
        start = source.lstrip()
        line = binding.original.line + source[: len(source) - len(start)].count("\n")
        if binding.error:
            problems.append(f"line {line}: it is not NAME=value; close its quotes, or begin a comment with #")
        elif binding.key is not None and (not _NAME.match(binding.key) or binding.value is None):
            problems.append(f"line {line}: it is not NAME=value; a name has letters, digits and _")
        elif binding.key is not None and binding.value is not None:
            plain = start.partition("=")[2].lstrip().startswith("'")
            known = {**found, **environment}
            missing: list[str] = []
            found[binding.key] = binding.value if plain else _expanded(binding.value, known, missing)
            problems += [
                f"line {line}: the variable {n} is not set; set it, or write ${{{n}:-default}}" for n in missing
            ]
    return found, problems


def _expanded(value: str, known: Mapping[str, str], missing: list[str]) -> str:
    from dotenv.variables import Variable, parse_variables

    atoms = list(parse_variables(value))
    missing += [a.name for a in atoms if isinstance(a, Variable) and a.default is None and a.name not in known]
    return "".join(atom.resolve(known) for atom in atoms)
