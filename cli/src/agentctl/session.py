"""Finds the AgentFlow that a command talks to, and the key for it.

Flags win; the other places are those of the SDK's `Client()` (`agentflow_sdk.transport.connection`).
"""

from __future__ import annotations

import functools
import inspect
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from agentctl.failures import NO_ACCESS, UNREACHABLE, CliError
from agentflow_sdk.transport import connection
from agentflow_sdk.transport.connection import KEYS, Target, config_path, data_dir, read_config, read_stack, stack_token

if TYPE_CHECKING:
    from agentflow_sdk import Client

__all__ = [
    "KEYS", "Target", "config_path", "data_dir", "open_client", "read_config", "read_stack", "remote", "reset",
    "resolve", "sign", "stack_token", "state", "with_stack", "write_config",
]  # fmt: skip
ENVIRONMENT: Final = {**connection.ENVIRONMENT, "token": ("AGENTFLOW_TOKEN", "API_KEY")}
_PANEL: Final = "Connection"
Endpoint = Annotated[
    str, typer.Option(help="host:port or https://host of the gateway.", rich_help_panel=_PANEL, show_default=False)
]
Token = Annotated[
    str,
    typer.Option(
        help="API key; better in AGENTFLOW_TOKEN, where no process list shows it.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
OrgId = Annotated[
    str, typer.Option(help="Refuse to act if the key is not of this org.", rich_help_panel=_PANEL, show_default=False)
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", rich_help_panel=_PANEL)]


@dataclass
class State:
    """What the flags of this invocation said, wherever on the line they stood."""

    flags: dict[str, str]
    debug: bool = False
    source: str = ""  # the definition file at hand, for the places in error messages


state: Final = State({})


def reset(debug: bool, **flags: str) -> None:
    state.flags = {key: value for key, value in flags.items() if value}
    state.debug = debug
    state.source = ""


def sign(
    wrapper: Any, command: Callable[..., Any], added: Mapping[str, tuple[Any, Any]], hidden: str | tuple[str, ...] = ()
) -> None:
    """Gives the wrapper of a command the command's parameters without `hidden`, and more options.
    added: by name their annotation and default."""
    hints = get_type_hints(command, include_extras=True)
    unseen = (hidden,) if isinstance(hidden, str) else hidden
    own = [p for p in inspect.signature(command).parameters.values() if p.name not in unseen]
    parameters = [p.replace(annotation=hints[p.name]) for p in own]
    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in added.items()
    ]
    wrapper.__signature__ = inspect.Signature([*parameters, *extra])
    wrapper.__annotations__ = {p.name: p.annotation for p in (*parameters, *extra)}


def remote(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the connection flags."""

    @functools.wraps(command)
    def wrapper(**kwargs: Any) -> Any:
        state.debug = kwargs.pop("debug") or state.debug
        state.flags.update({key: value for key in KEYS if (value := kwargs.pop(key))})
        return command(**kwargs)

    sign(wrapper, command, {"endpoint": (Endpoint, ""), "token": (Token, ""), "org_id": (OrgId, ""),
                            "debug": (Debug, False)})  # fmt: skip
    return wrapper


# --- where things are kept ---


def write_config(values: Mapping[str, str]) -> Path:
    """Replaces the file at once, readable by the user alone."""
    import yaml

    path = config_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")  # created 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            yaml.safe_dump(dict(values), out, sort_keys=True, allow_unicode=True)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


# --- the decision ---


def resolve(flags: Mapping[str, str] | None = None) -> Target:
    """Returns where commands connect: what the flags say, then what `agentflow_sdk.transport.connection` finds."""
    flags = state.flags if flags is None else flags
    target = connection.resolve(flags, ENVIRONMENT)
    named = {key: f"--{key.replace('_', '-')}" for key in KEYS if flags.get(key)}
    return replace(target, sources=target.sources | named)


def open_client(target: Target | None = None, *, timeout_s: float = 30.0) -> Client:
    """A client for the resolved target. CliError says how to name an endpoint or a key."""
    target = target or resolve()
    require(target)
    from agentflow_sdk import Client

    try:
        return Client(target.endpoint, target.token, target.org_id, timeout=timeout_s)
    except ValueError as error:
        where = " and ".join(dict.fromkeys(target.sources.get(key, "") for key in ("endpoint", "token")))
        raise CliError(str(error), fix=f"it comes from {where}") from None


def require(target: Target) -> None:
    """Raises CliError that says how to name an endpoint or a key, if one of them is missing."""
    if not target.endpoint:
        raise CliError(
            "no AgentFlow to talk to: no endpoint is set and no embedded stack runs here",
            fix="start one with `agentctl up --detach`, or set --endpoint, AGENTFLOW_ENDPOINT or "
            "`agentctl config set endpoint HOST:PORT`",
            exit_code=UNREACHABLE,
        )
    if not target.token:
        raise CliError(
            f"no API key for {target.endpoint}",
            fix="set AGENTFLOW_TOKEN, pass --token, or store it with `agentctl config set token -`",
            exit_code=NO_ACCESS,
        )


def with_stack(target: Target, stack: Mapping[str, Any]) -> Target:
    """The target of a stack that was just started: what flags and environment say does not apply to it."""
    return replace(target, endpoint=str(stack["grpc"]), token=stack_token(stack), org_id="")
