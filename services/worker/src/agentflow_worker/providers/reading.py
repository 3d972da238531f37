"""Readers for a provider's answers: server-sent events, JSON that may be odd, and fields that may be null."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec

from agentflow_common.errors import UNREADABLE

EVENT_BYTES_MAX: Final = 16 * 1024 * 1024
TOKENS_MAX: Final = 1_000_000_000  # of one call: a larger number is not a count
NOT_JSON: Final = (*UNREADABLE, ValueError)


class Events:
    """Cuts a stream of server-sent events into the data of each.

    ValueError for an event that is too long.
    """

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._rest = b""
        self._data: list[bytes] = []
        self._bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Reads data.

        Returns its whole lines without comments (`: ping`), which one SDK takes for data.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        kept = b"".join(line + b"\n" for line in lines if self._line(line.rstrip(b"\r")))
        if self._bytes + len(self._rest) > EVENT_BYTES_MAX:
            raise ValueError("an event of the stream is too long")
        return kept

    def end(self) -> bytes:
        """Returns the rest of the data. The last event may lack its empty line."""
        rest, self._rest = self._rest, b""
        kept = rest if self._line(rest.rstrip(b"\r")) else b""
        self._line(b"")
        return kept

    def _line(self, line: bytes) -> bool:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            self._bytes += len(line)
        elif not line and self._data:
            data, self._data, self._bytes = b"\n".join(self._data), [], 0
            self._take(data)
        return not line.startswith(b":")


async def body_of(response: Any) -> bytes:
    """Returns the whole body of a response. Raises ValueError if it is too long."""
    body = b""
    async for data in response.aiter_bytes():
        body += data
        if len(body) > EVENT_BYTES_MAX:
            raise ValueError("the answer is too long")
    return body


def decoded(data: bytes) -> Any:
    """Returns the JSON value; raises one of NOT_JSON.

    An escape of half a character is valid in JSON. The fast decoder refuses it, the other one does
    not.
    """
    return json.loads(data) if b"\\u" in data else msgspec.json.decode(data)


def tokens(value: Any) -> int:
    """Returns a reported count of tokens; 0 for a value that is not a count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return round(value) if 0 <= value <= TOKENS_MAX else 0


def listed(value: Any) -> list[dict[str, Any]]:
    """Returns the objects of a list. Null stands for an empty list, and nulls in it are skipped."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise TypeError(f"a list was expected, not {type(value).__name__}")
    return [fields(item) for item in value if item is not None]


def fields(value: Any) -> dict[str, Any]:
    """Returns an object. Null stands for an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"an object was expected, not {type(value).__name__}")
    return value


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not {type(value).__name__}")
    return value
