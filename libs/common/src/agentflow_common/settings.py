"""Settings: environment first, then the YAML file that `AGENTFLOW_CONFIG` names, then one-machine defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import Field, FilePath, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

SettingsT = TypeVar("SettingsT", bound="Settings")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def load(kind: type[SettingsT]) -> SettingsT:
    """Returns the settings of a service that starts.

    Raises SystemExit that names each variable that is wrong. Values are not repeated: some are secrets.
    """
    try:
        return kind()
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors()]
        raise SystemExit("can't start, these settings are wrong:\n" + "\n".join(lines)) from None


class Settings(BaseSettings):
    """What every service reads. Names are the field names in upper case (`NATS_URL`)."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True)

    nats_url: str = "nats://127.0.0.1:4222"
    default_org_id: str = "default"
    http_host: str = "127.0.0.1"
    http_port: int = Field(0, ge=0, le=65535, description="port of /healthz, /readyz and /metrics; 0 picks a free one")
    log_level: str = "INFO"
    log_format: Literal["json", "text"] = "json"
    durability: Literal["default", "fsync"] = Field("default", alias="AGENTFLOW_DURABILITY")
    replicas: int = Field(1, alias="AGENTFLOW_REPLICAS", ge=1, le=5)
    run_dir: Path | None = Field(
        None, alias="AGENTFLOW_RUN_DIR", description="where a service writes the ports that it chose"
    )
    otlp_endpoint: str = Field("", alias="OTEL_EXPORTER_OTLP_ENDPOINT")

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
        yaml = (YamlConfigSettingsSource(settings_cls, yaml_file=path),) if path else ()
        return (init_settings, env_settings, *yaml)


class DatabaseSettings(Settings):
    """For services that own tables. A `db_host` that starts with `/` is the folder of a Unix socket.

    `db_ssl_mode` has libpq's meanings, with one addition: `verify-ca` and `verify-full` without a root certificate
    trust the system's certificate authorities (libpq's `sslrootcert=system`).
    """

    db_host: str = "127.0.0.1"
    db_port: int = Field(5432, ge=1, le=65535)
    db_user: str = "postgres"
    db_password: str = ""
    db_name: str = "postgres"
    db_ssl_mode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    db_ssl_root_cert: FilePath | None = Field(None, description="PEM file of the authorities that sign the server")
    db_ssl_cert: FilePath | None = Field(None, description="PEM file of this client's certificate")
    db_ssl_key: FilePath | None = Field(None, description="PEM file of its private key")
    db_pool_max: int = 8


class ClickHouseSettings(Settings):
    """With `clickhouse_path` set, ClickHouse is embedded (chDB) in that folder; one process may open it."""

    clickhouse_path: str = ""
    clickhouse_host: str = "127.0.0.1"
    clickhouse_port: int = Field(0, ge=0, le=65535, description="0: 8443 with TLS, 8123 without")
    clickhouse_user: str = "default"
    clickhouse_password: str = ""
    clickhouse_database: str = "agentflow"
    clickhouse_secure: bool = Field(False, description="speak HTTPS to the server")
    clickhouse_verify: bool = Field(True, description="check the server's certificate and name; for HTTPS only")
    clickhouse_ca_cert: FilePath | None = Field(
        None, description="PEM file of the authorities that sign the server; none: the system's"
    )
    clickhouse_client_cert: FilePath | None = Field(None, description="PEM file of this client's certificate")
    clickhouse_client_key: FilePath | None = Field(None, description="PEM file of its private key")

    @property
    def clickhouse_port_used(self) -> int:
        """The port to connect to: the one that is set, or the usual one of the protocol."""
        return self.clickhouse_port or (8443 if self.clickhouse_secure else 8123)
