"""Opens NATS connections. A connection uses its credentials for every server and never stops to reconnect.

A cluster sends its clients the addresses of its servers, without credentials. So the credentials in `url` become an
option of the client: they apply to every server that it finds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import nats.errors

from agentflow_common import tasks
from agentflow_common.errors import InvalidError, UnauthenticatedError
from agentflow_common.log.fast_path import Connection

log = logging.getLogger(__name__)

RECONNECT_WAIT_S: Final = 0.25
PING_EVERY_S: Final = 3
PINGS_LOST_MAX: Final = 2  # a server that hangs keeps its connections: pings find that out within 9 s
PENDING_BYTES_MAX: Final = 64 * 1024 * 1024  # unsent while no server is there
_SCHEMES: Final = frozenset({"nats", "tls", "ws", "wss"})
REFUSED: Final = "credentials refused; see NATS_URL"


class Credentials:
    """Returns the credentials for each server: its own if its URL has some, else the first that any URL has."""

    def __init__(self, parsed: Sequence[SplitResult]) -> None:
        self._own = {(uri.hostname, uri.port): _options(uri) for uri in parsed if uri.username}
        self._default: Mapping[str, str | None] = next(iter(self._own.values()), _options(None))

    def of(self, uri: Any) -> Mapping[str, str | None]:
        """Returns the options `user`, `password` and `token` for a server."""
        return self._own.get((uri.hostname, uri.port), self._default)


def _options(uri: SplitResult | None) -> dict[str, str | None]:
    """Returns the credentials in a URL as nats-py reads them: a name without a password is a token."""
    if uri is None or not uri.username:
        return {"user": None, "password": None, "token": None}
    if uri.password is None:
        return {"user": None, "password": None, "token": uri.username}
    return {"user": uri.username, "password": uri.password, "token": None}


def read(url: str) -> tuple[list[str], Credentials]:
    """Returns the servers of a NATS_URL (several with commas between them), without and with their credentials.

    Raises InvalidError for a text that is not an address. It does not repeat the value, which may hold credentials.
    """
    parsed = [_address(part.strip()) for part in url.split(",")]
    parsed = [uri if uri.port else uri._replace(netloc=f"{uri.netloc}:4222") for uri in parsed]
    return [f"{uri.scheme}://{uri.netloc.rpartition('@')[2]}" for uri in parsed], Credentials(parsed)


def _address(text: str) -> SplitResult:
    wrong = ""
    try:
        uri = urlsplit(text if "://" in text else f"nats://{text}")
        _ = uri.port
    except ValueError:
        wrong = "has a port that is not a number from 0 to 65535, or brackets that do not close"
    else:
        if not uri.hostname:
            wrong = "names no host"
        elif uri.scheme not in _SCHEMES:
            wrong = f"begins with {uri.scheme}://"
    if wrong:
        fix = "set it to nats://HOST:PORT, with TOKEN@ or USER:PASSWORD@ before the host"
        raise InvalidError.at("NATS_URL", f"NATS_URL {wrong}", fix)
    return uri


class NatsConnection(Connection):
    """trouble: why the connection can't come back at the moment, where the server said so; empty otherwise."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials
        self.trouble = ""

    def _connect_command(self) -> bytes:
        if self._current_server is not None:
            self.options.update(self._credentials.of(self._current_server.uri))
        return super()._connect_command()

    @property
    def is_lost(self) -> bool:
        """True if the connection has ended and nothing will bring it back."""
        attempt = self._reconnection_task
        return self.is_closed or (self.is_reconnecting and attempt is not None and attempt.done())


class _Watch:
    """Follows what the client reports: refused credentials are an error at the start, and trouble later."""

    def __init__(self, nc: NatsConnection, servers: Sequence[str]) -> None:
        self._nc = nc
        self._servers = servers
        self._refusals = 0
        self.connected = False
        self.refused = asyncio.Event()

    async def on_error(self, error: Exception) -> None:
        """Logs an error of the client. Never raises: the client would stop its attempts to reconnect."""
        if self.connected and not self._nc.is_connected:
            self._nc.drop()
        if not _is_refusal(error):
            what = str(error) if isinstance(error, OSError) else type(error).__name__
            log.warning("NATS at %s (NATS_URL): %s", _places(self._servers), what)
            return
        self._refusals += 1
        if self._refusals != len(self._servers):  # one of many may be wrong
            return
        if self.connected:
            log.error(_refusal(self._servers))
            self._nc.trouble = REFUSED
        else:
            self.refused.set()

    async def on_reconnect(self) -> None:
        self._refusals = 0
        self._nc.trouble = ""
        self._nc.moved()


async def connect(url: str, name: str, closed: Callable[[], None] | None = None) -> NatsConnection:
    """Returns a connection that waits for a server and then never gives up. url: several with commas between them.

    UnauthenticatedError if the credentials are refused at the start; later, `trouble` says so. closed: called when the
    connection has ended for good, by `close` or because a server took the credentials back.
    """
    servers, credentials = read(url)
    nc = NatsConnection(credentials)
    watch = _Watch(nc, servers)

    async def on_close() -> None:
        if closed is not None and watch.connected:
            closed()

    attempt = nc.connect(
        servers,
        name=name,
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # it goes to asyncio.sleep
        ping_interval=PING_EVERY_S,
        max_outstanding_pings=PINGS_LOST_MAX,
        error_cb=watch.on_error,
        reconnected_cb=watch.on_reconnect,
        closed_cb=on_close,
        pending_size=PENDING_BYTES_MAX,
        allow_reconnect=True,
    )
    waiters = [asyncio.ensure_future(attempt), asyncio.ensure_future(watch.refused.wait())]
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        if not waiters[0].done():
            raise UnauthenticatedError(_refusal(servers), kind="nats_credentials_refused")
        await waiters[0]
        watch.connected = True
    finally:
        await tasks.stop(waiters)
        if not watch.connected:
            await nc.close()
    await watch.on_reconnect()
    return nc


def _is_refusal(error: Exception) -> bool:
    """True if the server refused the credentials. It says so by its text only, such as Authorization Violation."""
    text = str(error).lower()
    return isinstance(error, nats.errors.Error) and ("authorization" in text or "authentication" in text)


def _refusal(servers: Sequence[str]) -> str:
    """Returns the error about refused credentials, without the credentials themselves."""
    return (
        f"NATS at {_places(servers)} refuses the credentials: set NATS_URL to nats://TOKEN@HOST:PORT or "
        "nats://USER:PASSWORD@HOST:PORT with those of the server's `authorization`"
    )


def _places(servers: Sequence[str]) -> str:
    return ", ".join(server.removeprefix("nats://") for server in servers)
