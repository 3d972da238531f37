"""Which AgentFlow a command talks to, and with which key.

Each of endpoint, token and org is looked up on its own: flag, then environment, then config file, then the embedded
stack that runs in AGENTFLOW_DATA_DIR or ./.agentflow. The stack's own key goes to the stack's own endpoint only.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from agentctl.failures import NO_ACCESS, UNREACHABLE, CliError

if TYPE_CHECKING:
    from agentflow_sdk import Client

KEYS: Final = ("endpoint", "token", "org_id")
ENVIRONMENT: Final = {
    "endpoint": ("AGENTFLOW_ENDPOINT",),
    "token": ("AGENTFLOW_TOKEN", "API_KEY"),
    "org_id": ("AGENTFLOW_ORG",),
}
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


def sign(wrapper: Any, command: Callable[..., Any], added: Mapping[str, tuple[Any, Any]], hidden: str = "") -> None:
    """Gives the wrapper of a command the command's parameters without `hidden`, and more options.
    added: by name their annotation and default."""
    hints = get_type_hints(command, include_extras=True)
    own = [p for p in inspect.signature(command).parameters.values() if p.name != hidden]
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


def config_path() -> Path:
    named = os.environ.get("AGENTFLOW_CLI_CONFIG")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "agentflow" / "config.yaml"


def read_config() -> dict[str, str]:
    """The config file's known keys; empty if there is none. CliError names what is wrong with the file."""
    path = config_path()
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CliError(f"{path}: not YAML: {error}", fix="mend or remove the file") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise CliError(f"{path}: not a mapping", fix="write `endpoint: host:port`, or remove the file")
    return {key: str(data[key]) for key in KEYS if data.get(key)}


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


def data_dir(given: Path | None = None) -> Path:
    """The embedded stack's folder: as given, AGENTFLOW_DATA_DIR, or ./.agentflow."""
    return (given or Path(os.environ.get("AGENTFLOW_DATA_DIR") or ".agentflow")).expanduser().absolute()


def read_stack(folder: Path) -> dict[str, Any]:
    """What the stack in that folder says about itself; empty if there is none."""
    try:
        data = json.loads((folder / "stack.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def stack_token(stack: Mapping[str, Any]) -> str:
    try:
        return Path(str(stack.get("dev_key_file") or "")).read_text("utf-8").strip()
    except OSError:
        return ""


# --- the decision ---


@dataclass(frozen=True)
class Target:
    """sources: where each value came from, for `config show`. An empty value was found nowhere."""

    endpoint: str
    token: str
    org_id: str
    sources: dict[str, str]


def resolve(flags: Mapping[str, str] | None = None) -> Target:
    flags = state.flags if flags is None else flags
    config = read_config()
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    for key in KEYS:
        named = next((name for name in ENVIRONMENT[key] if os.environ.get(name)), "")
        for value, source in (
            (flags.get(key, ""), f"--{key.replace('_', '-')}"),
            (os.environ.get(named, "") if named else "", named),
            (config.get(key, ""), str(config_path())),
        ):
            if value:
                values[key], sources[key] = value.strip(), source
                break
    stack = read_stack(data_dir())
    address = str(stack.get("grpc") or "")
    if address and values.get("endpoint", address).removeprefix("http://") == address:
        if "endpoint" not in values:
            values["endpoint"], sources["endpoint"] = address, "the embedded stack"
        if "token" not in values and (token := stack_token(stack)):
            values["token"], sources["token"] = token, "the embedded stack"
    return Target(values.get("endpoint", ""), values.get("token", ""), values.get("org_id", ""), sources)


def open_client(target: Target | None = None, *, timeout_s: float = 30.0) -> Client:
    """A client for the resolved target. CliError says how to name an endpoint or a key."""
    target = target or resolve()
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
    from agentflow_sdk import Client

    try:
        return Client(target.endpoint, target.token, target.org_id, timeout=timeout_s)
    except ValueError as error:
        where = " and ".join(dict.fromkeys(target.sources.get(key, "") for key in ("endpoint", "token")))
        raise CliError(str(error), fix=f"it comes from {where}") from None


def with_stack(target: Target, stack: Mapping[str, Any]) -> Target:
    """The target of a stack that was just started: what flags and environment say does not apply to it."""
    return replace(target, endpoint=str(stack["grpc"]), token=stack_token(stack), org_id="")
