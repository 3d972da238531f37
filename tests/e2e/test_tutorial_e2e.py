"""The tutorial runs as it stands, on a stack of its own, and shows what really comes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import until_now

from .documents import TUTORIAL, Block, blocks

pytestmark = pytest.mark.e2e
COMMAND_S_MAX = 180.0
# Commands that only look: they are tried again until they show what the tutorial shows.
LOOKS = re.compile(r"agentctl (workflow (why|get|list|approvals)|trace get|audit list)\b|cat [\w.]+$")
_VARIABLE = re.compile(
    r"(?P<run>run_\w+)|(?P<key>key_\w+)|(?P<token>:[A-Z0-9]{6}>)|(?P<number>\d[\d,.]*)|(?P<bar>[█░]+)|(?P<space>\s+)"
)
_ANY = {
    "run": r"run_\w+",
    "key": r"key_\w+",
    "token": r":[A-Z0-9]{6}>",
    "number": r"\d[\d,.]*",
    "bar": "[█░]*",
    "space": r"\s+",
}


class Reader:
    """Somebody who types the tutorial into a shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._left_at = folder / "left_at"
        paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
        self.env = {
            **os.environ,
            "PATH": os.pathsep.join(paths),
            "AGENTFLOW_CLI_CONFIG": os.devnull,
            "COLUMNS": "120",
            "LEFT_AT": str(self._left_at),
        }
        for name in ("AGENTFLOW_ENDPOINT", "AGENTFLOW_TOKEN", "API_KEY", "AGENTFLOW_DATA_DIR"):
            self.env.pop(name, None)

    def types(self, block: Block) -> str:
        """Runs a block and returns what it writes. The next one begins in the folder in which this one ended."""
        text = f"trap 'pwd >\"$LEFT_AT\"' EXIT\n{block.text}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=COMMAND_S_MAX,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == block.code, f"{block.place}: exit code {done.returncode}\n{done.stdout}"
        self.folder = Path(self._left_at.read_text().strip())
        return done.stdout

    def writes(self, block: Block) -> None:
        (self.folder / block.file).write_text(block.text)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    subprocess.run(["agentctl", "down"], cwd=reader.folder, env=reader.env, capture_output=True, check=False)


def missing(shown: str, written: str) -> list[str]:
    """Returns the lines that the tutorial shows and the commands did not write. Ids, numbers and bars may differ."""
    lines = [line.rstrip() for line in written.splitlines()]
    return [line for line in shown.splitlines() if line and not any(pattern(line).match(other) for other in lines)]


def pattern(line: str) -> re.Pattern[str]:
    """Matches lines that begin like this one. A column that is empty in one of them may be filled in the other."""
    parts, at = [], 0
    for match in _VARIABLE.finditer(line.strip()):
        parts += [re.escape(line.strip()[at : match.start()]), _ANY[str(match.lastgroup)]]
        at = match.end()
    return re.compile(r"\s*" + "".join(parts) + re.escape(line.strip()[at:]))


def looks_only(block: Block) -> bool:
    return all(LOOKS.match(line) for line in block.text.splitlines())


def test_every_command_of_the_tutorial_runs_and_shows_what_the_page_says(reader: Reader) -> None:
    written = ""
    typed: Block | None = None
    for block in blocks(TUTORIAL):
        if block.file:
            reader.writes(block)
        elif block.language == "sh":
            typed, written = block, reader.types(block)
        else:
            assert block.language == "text", block.place
            assert typed is not None
            if looks_only(typed):
                until_now(
                    lambda shown=block, again=typed: not missing(shown.text, reader.types(again)), what=block.place
                )
            else:
                assert missing(block.text, written) == [], f"{block.place}\n{written}"
