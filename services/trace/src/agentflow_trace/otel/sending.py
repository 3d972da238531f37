"""Sends exports to a receiver, as OTLP over HTTP.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp. The statuses 429, 502, 503 and 504 ask to try again.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import urllib.error
import urllib.request
from typing import Final

from agentflow_common.errors import RetryableError

TIMEOUT_S: Final = 20.0
PATH: Final = "/v1/traces"
_AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})


class RefusedError(Exception):
    """The receiver will not take this export, however often it is sent."""


class Receiver:
    """An endpoint of the settings: `http://host:4318`, with the path of traces or without it."""

    def __init__(self, endpoint: str, headers: dict[str, str]) -> None:
        base = endpoint.strip().rstrip("/")
        self.url = base if base.endswith(PATH) else base + PATH
        self._headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip", **headers}

    async def send(self, body: bytes) -> None:
        """Raises RetryableError, or RefusedError."""
        await asyncio.to_thread(self._send, body)

    def _send(self, body: bytes) -> None:
        request = urllib.request.Request(  # noqa: S310 - an operator's setting
            self.url, gzip.compress(body, 1, mtime=0), self._headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                answer.read()
        except urllib.error.HTTPError as error:
            if error.code in _AGAIN:
                raise RetryableError(f"the OTLP receiver answered {error.code}", kind="receiver_busy") from None
            raise RefusedError(f"HTTP {error.code}") from None
        except (OSError, http.client.HTTPException) as error:
            text = f"the OTLP receiver can't be reached ({type(error).__name__})"
            raise RetryableError(text, kind="receiver_away") from None


def receivers_of(endpoints: str, headers: str) -> list[Receiver]:
    """Returns the receivers of two settings: endpoints, and `name=value` headers, each separated by commas."""
    pairs = (pair.partition("=") for pair in headers.split(",") if "=" in pair)
    named = {name.strip(): value.strip() for name, _, value in pairs}
    return [Receiver(endpoint, named) for endpoint in endpoints.split(",") if endpoint.strip()]
