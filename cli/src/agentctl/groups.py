"""The groups of commands: those of this machine, and those that talk to a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from agentctl.hints import Group
from agentctl.session import remote


class LocalGroup(typer.Typer):
    """A group of commands about this machine."""

    def __init__(self, name: str, help: str) -> None:
        super().__init__(name=name, cls=Group, no_args_is_help=True, help=help)


class RemoteGroup(LocalGroup):
    """A group of commands that talk to a server: each has the connection flags, and a client if it wants one."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # type: ignore[override]
        """Adds a command that talks to a server."""
        return lambda command: self.local_command(name, **options)(remote(command))

    def local_command(self, name: str | None = None, **options: Any) -> Callable[..., Any]:
        """Adds a command that does not."""
        return super().command(name, **options)
