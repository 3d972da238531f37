"""The table of all settings, from the settings classes of the services and the variables that clients read."""

from __future__ import annotations

import importlib
import types
import typing
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from agentflow_common.field_texts import field_texts
from agentflow_common.settings import Settings
from tests.docs.markdown import code
from tests.docs.markdown import table as markdown_table

SERVICES: Final = {
    "cost": "agentflow_cost.settings.CostSettings",
    "gateway": "agentflow_gateway.settings.GatewaySettings",
    "prompt": "agentflow_prompt.settings.PromptSettings",
    "scheduler": "agentflow_scheduler.settings.SchedulerSettings",
    "security": "agentflow_security.settings.SecuritySettings",
    "trace": "agentflow_trace.settings.TraceSettings",
    "worker": "agentflow_worker.settings.WorkerSettings",
}
MIB: Final = 1024 * 1024
UNITS: Final = {  # by the end of a field's name
    "_bytes_max": "bytes",
    "_rss_bytes": "bytes",
    "_chars_max": "characters",
    "_hours": "hours",
    "_ms": "milliseconds",
    "_s": "seconds",
    "_s_max": "seconds",
    "_min_s": "seconds",
    "_rows": "rows",
    "_port": "port",
}


class Setting(NamedTuple):
    name: str  # the environment variable
    readers: tuple[str, ...]
    default: str  # empty: none
    value: str  # its unit, or what may stand there
    meaning: str


CLIENTS: Final = (
    Setting(
        "AGENTFLOW_CONFIG",
        ("services",),
        "",
        "file",
        "YAML file with settings. A key is the name of a variable of this table; the environment wins",
    ),
    Setting(
        "AGENTFLOW_ENDPOINT",
        ("agentctl", "SDK"),
        "the embedded stack",
        "`host:port` or `https://host`",
        "the gateway to talk to",
    ),
    Setting("AGENTFLOW_TOKEN", ("agentctl", "SDK"), "the embedded stack's key", "API key", "the key to talk with"),
    Setting(
        "AGENTFLOW_ORG",
        ("agentctl", "SDK"),
        "",
        "org",
        "the org that the key must belong to; a call with a key of another org is refused",
    ),
    Setting(
        "AGENTFLOW_CLI_CONFIG",
        ("agentctl", "SDK"),
        "`~/.config/agentflow/config.yaml`",
        "file",
        "where `agentctl config set` keeps endpoint, token and org",
    ),
    Setting(
        "XDG_CONFIG_HOME",
        ("agentctl", "SDK"),
        "`~/.config`",
        "folder",
        "the folder above `agentflow/config.yaml`, if `AGENTFLOW_CLI_CONFIG` is not set",
    ),
    Setting(
        "AGENTFLOW_DATA_DIR", ("agentctl", "SDK"), "`.agentflow`", "folder", "where the embedded stack keeps everything"
    ),
    Setting("API_KEY", ("agentctl",), "", "API key", "the key to talk with, if `AGENTFLOW_TOKEN` is not set"),
    Setting(
        "AGENTFLOW_TEST_BACKEND",
        ("tests",),
        "`embedded`",
        "`embedded` or `testcontainers`",
        "where the tests take their servers from",
    ),
    Setting(
        "AGENTFLOW_CLUSTER_RUNS",
        ("tests",),
        "`10000`",
        "number",
        "runs that go on while the test of a cluster kills nodes",
    ),
    Setting("AGENTFLOW_CLUSTER_SEED", ("tests",), "`1`", "number", "which faults that test plays"),
    Setting(
        "DOCKER_HOST", ("tests",), "`unix:///var/run/docker.sock`", "URL", "the Docker that runs the tests' containers"
    ),
)


def of_services() -> Iterator[Setting]:
    """Yields each setting of each service, one at a time."""
    for service, place in SERVICES.items():
        module, _, name = place.rpartition(".")
        kind: type[Settings] = getattr(importlib.import_module(module), name)
        texts = field_texts(kind)
        for field_name, field in kind.model_fields.items():
            first, *others = variables(field_name, field)
            other = f" ({', '.join(map(code, others))} works too)" if others else ""
            if field_name not in texts:
                raise ValueError(f"{name}.{field_name} has no description: write a text below the field")
            meaning = " ".join(texts[field_name].split()) + other
            yield Setting(first, (service,), _default(field_name, field), _value(field_name, field), meaning)


def variables(name: str, field: FieldInfo) -> list[str]:
    """Returns the environment variables that set a field, best first."""
    alias = field.validation_alias or field.alias
    if isinstance(alias, AliasChoices):
        return [choice for choice in alias.choices if isinstance(choice, str) and choice.isupper()] or [name.upper()]
    return [alias if isinstance(alias, str) else name.upper()]


def _default(name: str, field: FieldInfo) -> str:
    value = field.default
    if field.default_factory is not None:
        return "host and process id"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    if value is None or value is PydanticUndefined or value == "":
        return ""
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, float):
        return code(f"{value:g}")
    if name.endswith("bytes_max") and value >= MIB:
        return f"{code(str(value))} ({value // MIB} MiB)"
    return code(str(value))


def _value(name: str, field: FieldInfo) -> str:
    """Returns the unit of a number, or what may stand there."""
    kinds = list(_kinds(field.annotation))
    if choices := [choice for kind in kinds if typing.get_origin(kind) is Literal for choice in typing.get_args(kind)]:
        return ", ".join(code(choice) for choice in choices)
    if bool in kinds:
        return "`true` or `false`"
    if int in kinds or float in kinds:
        unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "number")
        return unit + _bounds(field)
    if Path in kinds:
        folders = name.endswith(("_dir", "_root", "_roots"))
        return ("folders" if name.endswith("s") else "folder") if folders else "file"
    if SecretStr in kinds or name.endswith(("password", "api_key")):
        return "secret"
    return "names" if tuple in kinds else "text"


def _bounds(field: FieldInfo) -> str:
    found: list[str] = []
    for attribute, word in (("ge", "from"), ("gt", "above"), ("le", "to")):
        found += [f"{word} {_number(getattr(item, attribute))}" for item in field.metadata if hasattr(item, attribute)]
    return f", {' '.join(found)}" if found else ""


def _number(value: float) -> str:
    return f"{value:,}".removesuffix(".0")


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yields the types that a value may have; a tuple's items count too."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        yield annotation
    elif origin in {typing.Union, types.UnionType, typing.Annotated}:
        for part in typing.get_args(annotation):
            yield from _kinds(part)
    elif origin is tuple:
        yield tuple
        yield typing.get_args(annotation)[0]
    else:
        yield annotation


def merged(settings: list[Setting]) -> Setting:
    """Returns one row for a variable that several read. A default that differs is named with its service."""
    first = settings[0]
    readers = tuple(dict.fromkeys(reader for setting in settings for reader in setting.readers))
    if set(SERVICES) <= set(readers):
        readers = ("every service", *(reader for reader in readers if reader not in SERVICES))
    return first._replace(
        readers=readers,
        default=_by_reader([(setting.readers, setting.default or "not set") for setting in settings]),
        meaning=_by_reader([(setting.readers, setting.meaning) for setting in settings]),
    )


def _by_reader(texts: list[tuple[tuple[str, ...], str]]) -> str:
    """Returns the text that most readers share, and those that differ with their readers."""
    counted = Counter(text for _, text in texts)
    usual, count = counted.most_common(1)[0]
    shared = [usual] if count > 1 or len(texts) == 1 else []
    return "; ".join([*shared, *(f"{', '.join(who)}: {text}" for who, text in texts if text not in shared)])


def all_settings() -> list[Setting]:
    """Returns every setting once, by name."""
    by_name: dict[str, list[Setting]] = {}
    for setting in [*of_services(), *CLIENTS]:
        by_name.setdefault(setting.name, []).append(setting)
    return [merged(by_name[name]) for name in sorted(by_name)]


def table() -> str:
    head = ("Variable", "Read by", "Default", "Value", "Meaning")
    rows = [(code(one.name), ", ".join(one.readers), one.default, one.value, one.meaning) for one in all_settings()]
    return markdown_table(head, rows)
