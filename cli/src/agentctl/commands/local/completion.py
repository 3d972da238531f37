"""`agentctl completion`: the script for a shell's own start-up files (see also --install-completion)."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from agentctl.groups import LocalGroup

app = LocalGroup("completion", "Shell completion.")


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


@app.command()
def show(shell: Annotated[Shell, typer.Argument(show_default=False)]) -> None:
    """Print the completion script, for example: agentctl completion show bash >> ~/.bashrc."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    script = get_completion_script(prog_name="agentctl", complete_var="_AGENTCTL_COMPLETE", shell=shell.value)
    sys.stdout.write(script.rstrip() + "\n")
