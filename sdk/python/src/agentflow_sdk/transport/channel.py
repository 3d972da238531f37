"""The address of the server, and how a channel to it is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import grpc

OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    # watching may be silent for long: find a dead connection, but stay under the ping limits of common servers
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),  # the SDK retries itself: it knows which calls may be repeated
    ("grpc.primary_user_agent", "agentflow-sdk-python"),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a server."""

    target: str
    """`host:port`."""
    secure: bool
    """True for TLS."""

    def __str__(self) -> str:
        return self.target


def parse_endpoint(base_url: str) -> Endpoint:
    """Returns the address in `host:port`, `http://host:port` (plain) or `https://host[:port]` (TLS).

    Raises ValueError for anything else.
    """
    text = base_url.strip()
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme not in {"http", "https", "grpc", "grpcs"}:
        raise ValueError(f"unknown scheme in {base_url!r}: write host:port, http://host:port or https://host:port")
    secure = parts.scheme in {"https", "grpcs"}
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"the port in {base_url!r} is not a number from 1 to 65535") from None
    if not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"{base_url!r} is not an address: write host:port, without a path")
    if port is None:
        if not secure:
            raise ValueError(f"{base_url!r} has no port: write host:port")
        port = 443
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Endpoint(f"{host}:{port}", secure)


def metadata(token: str, org_id: str) -> tuple[tuple[str, str], ...]:
    """Returns the metadata of every call. Raises ValueError for a token that can't be sent."""
    if any(not 32 < ord(c) < 127 for c in token):
        raise ValueError("the API key has characters that no key has (spaces, line breaks): copy it again")
    pairs = []
    if token:
        pairs.append(("authorization", f"Bearer {token}"))
    if org_id:
        pairs.append(("x-org-id", org_id))
    return tuple(pairs)


def open_channel(library: Any, endpoint: Endpoint, root_certificates: bytes | None = None) -> Any:
    """Returns a new channel. library: `grpc` or `grpc.aio`. root_certificates: in PEM; None for those of the system."""
    if not endpoint.secure:
        return library.insecure_channel(endpoint.target, OPTIONS)
    secret = grpc.ssl_channel_credentials(root_certificates=root_certificates)
    return library.secure_channel(endpoint.target, secret, OPTIONS)


def serialise(message: Any) -> bytes:
    """Returns the bytes of a message."""
    return bytes(message.SerializeToString())
