"""Groups of commands. The error for an unknown command names the group that has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from typer.core import TyperGroup

COMMAND: Final = "agentctl.command"  # where the context of an invocation keeps its command


class Group(TyperGroup):
    """Typer suggests names of the same group; this one looks into all the others too.

    It keeps the command that was found, for the message of an error.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from agentflow_common.hints import near

            own = near(args[0], self.commands)
            found = elsewhere(ctx.find_root().command, args[0])
            if found and not own:
                ctx.fail(f"No such command {args[0]!r}. Did you mean {' or '.join(map(repr, found))}?")
        resolved = super().resolve_command(ctx, args)
        ctx.meta[COMMAND] = resolved[1]
        return resolved


def elsewhere(root: Any, name: str) -> list[str]:
    """Returns the commands of that name in all groups, in full: `agentctl workflow submit`.

    If no command has this name, returns the closest one.
    """
    from agentflow_common.hints import near

    paths = list(_paths(root, root.name or "agentctl"))
    exact = [path for path in paths if path.rpartition(" ")[2] == name]
    if exact:
        return exact[:3]
    last = {path.rpartition(" ")[2]: path for path in reversed(paths)}
    return [last[close] for close in near(name, last, cutoff=0.75)]


def _paths(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        yield f"{path} {name}"
        if hasattr(command, "commands"):
            yield from _paths(command, f"{path} {name}")
