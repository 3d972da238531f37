"""How the settings of database servers become arguments of their clients, where TLS is concerned."""

from __future__ import annotations

import ssl
from typing import Any

from agentflow_common.errors import InvalidError
from agentflow_common.settings import ClickHouseSettings, DatabaseSettings


def for_postgres(settings: DatabaseSettings) -> ssl.SSLContext | str | None:
    """Returns the `ssl` argument of asyncpg: None for a Unix socket, a mode, or a context where files take part.

    As in libpq, a root certificate makes `require` verify the server (`verify-ca`).
    Raises InvalidError for a combination that would not protect what it seems to protect.
    """
    mode = settings.db_ssl_mode
    if settings.db_host.startswith("/"):
        return None
    files = {"DB_SSL_ROOT_CERT": settings.db_ssl_root_cert, "DB_SSL_CERT": settings.db_ssl_cert}
    given = [name for name, path in files.items() if path is not None]
    if mode in {"disable", "allow", "prefer"}:
        if given:
            raise _problem(
                given[0],
                f"DB_SSL_MODE={mode} may connect without TLS, so {given[0]} would not be used",
                "set DB_SSL_MODE=verify-full, or verify-ca where the certificate names another host",
            )
        return mode
    if mode == "require" and not given:
        return mode
    context = _context(settings.db_ssl_root_cert, "DB_SSL_ROOT_CERT")
    context.check_hostname = mode == "verify-full"
    if mode == "require" and settings.db_ssl_root_cert is None:
        context.verify_mode = ssl.CERT_NONE
    _add_client(context, settings.db_ssl_cert, settings.db_ssl_key, "DB_SSL_CERT", "DB_SSL_KEY")
    return context


def for_clickhouse(settings: ClickHouseSettings) -> dict[str, Any]:
    """Returns the arguments of `clickhouse_connect.get_client` that concern TLS.

    Raises InvalidError where a certificate is given and HTTPS is off, or a file is not a certificate.
    """
    files = {
        "CLICKHOUSE_CA_CERT": settings.clickhouse_ca_cert,
        "CLICKHOUSE_CLIENT_CERT": settings.clickhouse_client_cert,
    }
    given = [name for name, path in files.items() if path is not None]
    if not settings.clickhouse_secure:
        if given:
            raise _problem(
                given[0],
                f"{given[0]} is set, but the connection would not use TLS",
                "set CLICKHOUSE_SECURE=true, and CLICKHOUSE_PORT if HTTPS is not on 8443",
            )
        return {"interface": "http"}
    context = _context(settings.clickhouse_ca_cert, "CLICKHOUSE_CA_CERT")  # read now: a wrong file has a name here
    _add_client(
        context,
        settings.clickhouse_client_cert,
        settings.clickhouse_client_key,
        "CLICKHOUSE_CLIENT_CERT",
        "CLICKHOUSE_CLIENT_KEY",
    )
    arguments: dict[str, Any] = {"interface": "https", "verify": settings.clickhouse_verify}
    if settings.clickhouse_ca_cert is not None:
        arguments["ca_cert"] = str(settings.clickhouse_ca_cert)
    if settings.clickhouse_client_cert is not None:
        arguments["client_cert"] = str(settings.clickhouse_client_cert)
        arguments["client_cert_key"] = str(settings.clickhouse_client_key or settings.clickhouse_client_cert)
    return arguments


def _context(authorities: Any, setting: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if authorities is None else str(authorities))
    except (ssl.SSLError, OSError) as error:
        raise _problem(
            setting,
            f"{setting} names a file that holds no certificate that can be read ({type(error).__name__})",
            "name a PEM file with the certificates of the authorities",
        ) from error


def _add_client(context: ssl.SSLContext, cert: Any, key: Any, cert_setting: str, key_setting: str) -> None:
    if cert is None:
        if key is not None:
            raise _problem(key_setting, f"{key_setting} is set without {cert_setting}", f"set {cert_setting} as well")
        return
    try:
        context.load_cert_chain(str(cert), None if key is None else str(key))
    except (ssl.SSLError, OSError) as error:
        raise _problem(
            cert_setting,
            f"{cert_setting} and {key_setting} are not a certificate and its key ({type(error).__name__})",
            "name PEM files; the key may not be encrypted",
        ) from error


def _problem(setting: str, message: str, fix: str) -> InvalidError:
    return InvalidError.at(setting, message, fix, kind="settings_invalid")
