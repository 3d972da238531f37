"""Finds the AgentFlow that a command talks to, and the key for it.

Flags win; the other places are those of the SDK's `Client()` (`agentflow_sdk.transport.connection`).
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import tempfile
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from agentctl.failures import NO_ACCESS, UNREACHABLE, CliError
from agentctl.options import option
from agentflow_sdk.transport import connection
from agentflow_sdk.transport.connection import KEYS, Target

if TYPE_CHECKING:
    from agentflow_sdk import Client

ENVIRONMENT: Final = {**connection.ENVIRONMENT, "token": ("AGENTFLOW_TOKEN", "API_KEY")}
_PANEL: Final = "Connection"
Endpoint = Annotated[str, option("host:port or https://host of the gateway.", rich_help_panel=_PANEL)]
Token = Annotated[
    str, option("API key; better in AGENTFLOW_TOKEN, where no process list shows it.", rich_help_panel=_PANEL)
]
OrgId = Annotated[str, option("Refuse to act if the key is not of this org.", rich_help_panel=_PANEL)]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", rich_help_panel=_PANEL)]
_FLAGS: Final = {"endpoint": (Endpoint, ""), "token": (Token, ""), "org_id": (OrgId, ""), "debug": (Debug, False)}


@dataclass
class State:
    """The flags of this invocation, wherever on the line they stood."""

    flags: dict[str, str]
    debug: bool = False
    source: str = ""  # the definition file at hand, for the places in error messages


state: Final = State({})


def reset(debug: bool, **flags: str) -> None:
    """Forgets the last invocation, and keeps the flags of this one that stand before the command."""
    state.flags = {key: value for key, value in flags.items() if value}
    state.debug = debug
    state.source = ""


def sign(
    wrapper: Any, command: Callable[..., Any], added: Mapping[str, tuple[Any, Any]], hidden: Container[str] = ()
) -> None:
    """Gives the wrapper of a command the command's parameters without the hidden ones, and more options.

    added: the annotation and the default of each further option, by name.
    """
    own = {p.name: p for p in inspect.signature(command).parameters.values() if p.name not in hidden}
    shown = SimpleNamespace(__annotations__={name: p.annotation for name, p in own.items()})
    hints = get_type_hints(shown, globalns=inspect.unwrap(command).__globals__, include_extras=True)
    parameters = [p.replace(annotation=hints[name]) for name, p in own.items()]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in added.items()
    ]
    wrapper.__signature__ = inspect.Signature(parameters)
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}


def remote(
    command: Callable[..., Any], like: Callable[..., Any] | None = None, hidden: tuple[str, ...] = ()
) -> Callable[..., Any]:
    """Gives a command the connection flags, and a client if it has a parameter of that name.

    The client connects when it is first used: an option that is not valid is refused without a server.

    like: another command whose other parameters this one takes, except for the hidden ones.
    """
    wants_client = "client" in inspect.signature(inspect.unwrap(command)).parameters

    @functools.wraps(command)
    def wrapper(**kwargs: Any) -> Any:
        state.debug = kwargs.pop("debug") or state.debug
        state.flags.update({key: value for key in KEYS if (value := kwargs.pop(key))})
        if not wants_client:
            return command(**kwargs)
        with contextlib.closing(_LazyClient()) as client:
            return command(client=client, **kwargs)

    sign(wrapper, like or command, _FLAGS, hidden=("client", *hidden))
    return wrapper


class _LazyClient:
    """Stands for a client. It connects when a method is called, after the arguments of the call were computed."""

    def __init__(self) -> None:
        self._client: Client | None = None

    def __getattr__(self, space: str) -> Any:
        return _LazyNamespace(self, space)

    def call(self, space: str, method: str, *args: Any, **kwargs: Any) -> Any:
        self._client = self._client or open_client()
        return getattr(getattr(self._client, space), method)(*args, **kwargs)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


class _LazyNamespace:
    def __init__(self, client: _LazyClient, space: str) -> None:
        self._client = client
        self._space = space

    def __getattr__(self, method: str) -> Any:
        return functools.partial(self._client.call, self._space, method)


def write_config(values: Mapping[str, str]) -> Path:
    """Replaces the file at once, readable by the user alone."""
    import yaml

    path = connection.config_path()
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


def resolve(flags: Mapping[str, str] | None = None) -> Target:
    """Returns where commands connect: what the flags say, then what `agentflow_sdk.transport.connection` finds."""
    flags = state.flags if flags is None else flags
    target = connection.resolve(flags, ENVIRONMENT)
    named = {key: f"--{key.replace('_', '-')}" for key in KEYS if flags.get(key)}
    return replace(target, sources=target.sources | named)


def open_client(target: Target | None = None, *, timeout_s: float = 30.0) -> Client:
    """Returns a client for the resolved target. Raises CliError that says how to name an endpoint or a key."""
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
