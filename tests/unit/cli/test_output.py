"""Every command can print for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import typer.main

from agentctl.main import app

# They start or stop the stack, write files, or print what a shell or an editor reads
WITHOUT: Final = {
    "up",
    "down",
    "demo",
    "init",
    "config set",
    "config env",
    "completion show",
    "workflow schema",
    "trace export",
    "schedule schema",
}


def commands(node: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each command with the words that call it."""
    for name, command in getattr(node, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def test_every_command_takes_a_format() -> None:
    without = {
        name
        for name, command in commands(typer.main.get_command(app))
        if not any("--output" in option.opts for option in command.params)
    }
    assert without == WITHOUT
