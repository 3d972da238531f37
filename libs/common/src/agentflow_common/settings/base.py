"""Settings: environment first, then the YAML file that `AGENTFLOW_CONFIG` names, then one-machine defaults."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

from pydantic import AliasChoices, Field, FilePath, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticKnownError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from agentflow_common.errors import InvalidError, Problem
from agentflow_common.hints import meant, plain
from agentflow_common.settings import file as settings_file

SettingsT = TypeVar("SettingsT", bound="Settings")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def load(kind: type[SettingsT]) -> SettingsT:
    """Returns the settings of a service that starts.

    Raises SystemExit that names each variable that is wrong. Values are not repeated: some are secrets.
    """
    where = ""
    try:
        return kind()
    except ValidationError as error:
        wrong = [Problem(".".join(map(str, one["loc"])).upper(), plain(one), meant(one)) for one in error.errors()]
    except InvalidError as error:
        wrong = [*error.problems]
        where = f" in the file of AGENTFLOW_CONFIG, {os.environ.get('AGENTFLOW_CONFIG', '')}"
    lines = [f"  {problem}" for problem in wrong]
    raise SystemExit(f"can't start, these settings are wrong{where}:\n" + "\n".join(lines))


class _FileSource(PydanticBaseSettingsSource):
    """The settings of a service in the file that AGENTFLOW_CONFIG names."""

    def __init__(self, settings_cls: type[BaseSettings], path: str) -> None:
        super().__init__(settings_cls)
        self._path = Path(path)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002  (unused)
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Returns the values by the name of their field. Raises InvalidError with every problem of the file."""
        given = settings_file.read(self._path, os.environ)
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            known = next((variable for variable in file_names(name, field) if variable in given), None)
            if known is not None:
                found[name] = given[known]
        return found


def file_names(name: str, field: FieldInfo) -> Iterator[str]:
    """Yields the names of a field in the file of settings, in upper case, best first."""
    alias = field.validation_alias or field.alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    yield from (choice.upper() for choice in choices if isinstance(choice, str))
    yield name.upper()


class Settings(BaseSettings):
    """The settings that every service reads. Names are the field names in upper case (`NATS_URL`).

    A text below a field is its description, which docs/settings.md shows.
    """

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True)

    nats_url: str = "nats://127.0.0.1:4222"
    """URLs of the NATS servers, separated by commas; they may carry a user and a password, or a token"""

    default_org_id: str = "default"
    """the org of the first API key; only the gateway uses it"""

    http_host: str = "127.0.0.1"
    """the address that /healthz, /readyz and /metrics listen on"""

    http_port: int = Field(0, ge=0, le=65535)
    """port of /healthz, /readyz and /metrics; 0 picks a free one"""

    log_level: str = "INFO"
    """how much is logged: DEBUG, INFO, WARNING, ERROR, CRITICAL"""

    log_format: Literal["json", "text"] = "json"
    """the form of a log line"""

    durability: Literal["default", "fsync"] = Field("default", alias="AGENTFLOW_DURABILITY")
    """fsync: an acknowledged event survives a power cut too, at a lower rate; set it for every service"""

    replicas: int = Field(1, alias="AGENTFLOW_REPLICAS", ge=1, le=5)
    """on how many NATS servers each stream and bucket is kept; more than 1 needs a cluster"""

    run_dir: Path | None = Field(None, alias="AGENTFLOW_RUN_DIR")
    """where a service writes the ports that it chose"""

    otlp_endpoint: str = Field("", alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    """where spans are sent, as OTLP over HTTP; empty: no spans are sent"""

    trace_export: str = Field("", alias="AGENTFLOW_TRACE_EXPORT")
    """receivers of OTLP over HTTP, separated by commas: they get the spans of each run that has ended, from the log"""

    trace_export_headers: str = Field("", alias="AGENTFLOW_TRACE_EXPORT_HEADERS", repr=False)
    """`name=value` headers for these receivers, separated by commas"""

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses `true` in a file for a number, which pydantic would take as 1."""
        kind = cls.model_fields[info.field_name or ""].annotation
        kinds = get_args(kind) or (kind,)
        if isinstance(value, bool) and bool not in kinds and (int in kinds or float in kinds):
            raise PydanticKnownError("int_type" if int in kinds else "float_type")
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in LOG_LEVELS:
            raise ValueError(f"use one of {', '.join(LOG_LEVELS)}")
        return value.upper()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (the base class's signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = os.environ.get("AGENTFLOW_CONFIG")
        file = (_FileSource(settings_cls, path),) if path else ()
        return (init_settings, env_settings, *file)


class DatabaseSettings(Settings):
    """For services that own tables. A `db_host` that starts with `/` is the folder of a Unix socket.

    `db_ssl_mode` has libpq's meanings, with one addition: `verify-ca` and `verify-full` without a root certificate
    trust the system's certificate authorities (libpq's `sslrootcert=system`).
    """

    db_host: str = "127.0.0.1"
    """host of PostgreSQL; the folder of a Unix socket if it starts with `/`"""

    db_port: int = Field(5432, ge=1, le=65535)
    """port of PostgreSQL"""

    db_user: str = "postgres"
    """user of PostgreSQL"""

    db_password: str = ""
    """password of `DB_USER`"""

    db_name: str = "postgres"
    """the database; each service has a schema of its own in it"""

    db_ssl_mode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    """as libpq's `sslmode`; `verify-ca` and `verify-full` without a root certificate trust the system's"""

    db_ssl_root_cert: FilePath | None = None
    """PEM file of the authorities that sign the server"""

    db_ssl_cert: FilePath | None = None
    """PEM file of the certificate that the service shows"""

    db_ssl_key: FilePath | None = None
    """PEM file of the private key to `DB_SSL_CERT`"""

    db_pool_max: int = 8
    """connections to PostgreSQL that one process opens at most"""


class ClickHouseSettings(Settings):
    """With `clickhouse_path` set, ClickHouse is embedded (chDB) in that folder; one process may open it."""

    clickhouse_path: str = ""
    """folder of an embedded ClickHouse (chDB); empty: the server at `CLICKHOUSE_HOST` is used"""

    clickhouse_host: str = "127.0.0.1"
    """host of ClickHouse"""

    clickhouse_port: int = Field(0, ge=0, le=65535)
    """HTTP port of ClickHouse; 0: 8443 with TLS, else 8123"""

    clickhouse_user: str = "default"
    """user of ClickHouse"""

    clickhouse_password: str = ""
    """password of `CLICKHOUSE_USER`"""

    clickhouse_database: str = "agentflow"
    """the database; it is created if it is missing"""

    clickhouse_secure: bool = False
    """speak HTTPS to the server"""

    clickhouse_verify: bool = True
    """check the server's certificate and name; for HTTPS only"""

    clickhouse_ca_cert: FilePath | None = None
    """PEM file of the authorities that sign the server; not set: the system's"""

    clickhouse_client_cert: FilePath | None = None
    """PEM file of the certificate that the service shows"""

    clickhouse_client_key: FilePath | None = None
    """PEM file of the private key to `CLICKHOUSE_CLIENT_CERT`"""

    @property
    def clickhouse_port_used(self) -> int:
        """The port to connect to: the one that is set, or the usual one of the protocol."""
        return self.clickhouse_port or (8443 if self.clickhouse_secure else 8123)
