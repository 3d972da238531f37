"""Finds the server and the API key: `Client()` and `agentctl` look in the same places.

Each of endpoint, token and org is looked up on its own: what the caller gives, then the environment, then the
configuration file of agentctl, then the embedded stack that runs in AGENTFLOW_DATA_DIR or ./.agentflow.
The key of the embedded stack goes to the address of the embedded stack only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agentflow_sdk.errors import ConfigurationError

KEYS: Final = ("endpoint", "token", "org_id")
ENVIRONMENT: Final[Mapping[str, tuple[str, ...]]] = {
    "endpoint": ("AGENTFLOW_ENDPOINT",),
    "token": ("AGENTFLOW_TOKEN",),
    "org_id": ("AGENTFLOW_ORG",),
}
EMBEDDED: Final = "the embedded stack"


@dataclass(frozen=True, slots=True)
class Target:
    """A server and how to talk to it. A value that was not found is empty."""

    endpoint: str
    """`host:port`, or a URL."""
    token: str
    """The API key."""
    org_id: str
    """The org that the key must belong to; empty for any."""
    sources: dict[str, str]
    """The place where each value was found: `AGENTFLOW_TOKEN`, a path, and so on."""


def resolve(given: Mapping[str, str], environment: Mapping[str, tuple[str, ...]] = ENVIRONMENT) -> Target:
    """Returns what is found for endpoint, token and org_id; `given` wins.

    Raises ConfigurationError if the configuration file can't be read.
    """
    values = {key: given[key].strip() for key in KEYS if given.get(key)}
    sources = dict.fromkeys(values, "the call")
    for key in KEYS:
        named = next((name for name in environment[key] if os.environ.get(name)), "")
        if key not in values and named:
            values[key], sources[key] = os.environ[named].strip(), named
    if any(key not in values for key in KEYS):
        for key, value in read_config().items():
            if key not in values:
                values[key], sources[key] = value.strip(), str(config_path())
    stack = read_stack(data_dir()) if "endpoint" not in values or "token" not in values else {}
    address = str(stack.get("grpc") or "")
    if address and values.get("endpoint", address).removeprefix("http://") == address:
        if "endpoint" not in values:
            values["endpoint"], sources["endpoint"] = address, EMBEDDED
        if "token" not in values and (token := stack_token(stack)):
            values["token"], sources["token"] = token, EMBEDDED
    return Target(values.get("endpoint", ""), values.get("token", ""), values.get("org_id", ""), sources)


def locate(base_url: str, token: str, org_id: str) -> Target:
    """Returns the target of a client with these arguments.

    Raises ConfigurationError if there is no endpoint, or if an endpoint was found and no key for it. A caller that
    names the endpoint may leave the key out: the server says whether it needs one.
    """
    if base_url and token:  # the caller has named all that a connection needs: nothing else may slip in
        return Target(base_url, token, org_id, {})
    target = resolve({"endpoint": base_url, "token": token, "org_id": org_id})
    if not target.endpoint:
        fix = (
            "start a stack here with `agentctl up --detach`, set AGENTFLOW_ENDPOINT and AGENTFLOW_TOKEN, store both "
            'with `agentctl config set`, or pass them: Client("host:port", token="...")'
        )
        places = f"AGENTFLOW_ENDPOINT, {config_path()} and {data_dir()}"
        raise ConfigurationError.at("endpoint", f"not found in {places}", fix, "there is no AgentFlow to connect to")
    if not target.token and not base_url:
        fix = "set AGENTFLOW_TOKEN, store it with `agentctl config set token -`, or pass token=..."
        message = f"not found; the endpoint comes from {target.sources['endpoint']}"
        raise ConfigurationError.at("token", message, fix, f"there is no API key for {target.endpoint}")
    return target


def config_path() -> Path:
    """Returns the path of agentctl's configuration file, whether or not it exists."""
    named = os.environ.get("AGENTFLOW_CLI_CONFIG")
    path = Path(named or Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config", "agentflow", "config.yaml"))
    try:
        return path.expanduser()
    except RuntimeError:  # a user without a home, as in many containers
        return path


def read_config() -> dict[str, str]:
    """Returns the known keys of the configuration file; an empty dict if this user has none.

    Raises ConfigurationError that names what is wrong with the file.
    """
    path = config_path()
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error)) from None
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _unreadable(path, f"not YAML: {error}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise _unreadable(path, "not a mapping")
    return {key: str(data[key]) for key in KEYS if data.get(key)}


def _unreadable(path: Path, why: str) -> ConfigurationError:
    fix = "write `endpoint: host:port`, or remove the file"
    return ConfigurationError.at(str(path), why, fix, "the configuration file can't be read")


def data_dir(given: Path | None = None) -> Path:
    """Returns the embedded stack's folder: as given, AGENTFLOW_DATA_DIR, or ./.agentflow."""
    return (given or Path(os.environ.get("AGENTFLOW_DATA_DIR") or ".agentflow")).expanduser().absolute()


def read_stack(folder: Path) -> dict[str, Any]:
    """Returns the addresses of the stack that runs in a folder; an empty dict if none does."""
    try:
        data = json.loads((folder / "stack.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def stack_token(stack: Mapping[str, Any]) -> str:
    """Returns the embedded stack's own API key, or an empty text if it can't be read."""
    try:
        return Path(str(stack.get("dev_key_file") or "")).read_text("utf-8").strip()
    except OSError:
        return ""
