"""Identifiers: random ones in the order of time for new things, and derived ones that a repetition makes again."""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import Final

from agentflow_common.errors import InvalidError, Problem

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32, lower case
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


def _base32(value: int, length: int) -> str:
    out = []
    for _ in range(length):
        value, digit = divmod(value, 32)
        out.append(_ALPHABET[digit])
    return "".join(reversed(out))


def new_run_id() -> str:
    """Returns a ULID with the prefix `run_`: 48 bits of milliseconds, then 80 random bits. It sorts by time."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "run_" + _base32(value, 26)


def run_id_for_key(org: str, idempotency_key: str) -> str:
    """Returns the run id for a client's idempotency key: the same key in the same org is the same run."""
    digest = hashlib.sha256(f"{org}\x00{idempotency_key}".encode()).digest()
    return "run_k" + _base32(int.from_bytes(digest[:16], "big") >> 3, 25)


def derived_run_id(*parts: str | int) -> str:
    """Returns a run id that depends on the parts alone, so that a repeated decision starts the same run."""
    data = "\x00".join(map(str, parts)).encode()
    return "run_d" + _base32(int.from_bytes(hashlib.sha256(data).digest()[:16], "big") >> 3, 25)


def reservation_id(org: str, run: str, step: str, attempt: int) -> str:
    """Returns the name of an attempt's reservation. The worker knows it even if the reply to its question is lost."""
    key = "\x00".join((org, run, step, str(attempt)))
    return "rsv_" + digest(key.encode())[:32]


def digest(data: bytes) -> str:
    """Returns the SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def fraction(*parts: str | int) -> float:
    """Returns a number in [0, 1) that depends on the parts alone: jitter that every refold computes again."""
    seed = "\x00".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest(), "big") / 2**64


def is_token(value: str) -> bool:
    """True if the value can stand in a NATS subject."""
    return _TOKEN.match(value) is not None


def check_owner(org: str, run: str) -> None:
    """Raises InvalidError for an org or a run that can't stand in a NATS subject."""
    check_token(org, "org")
    check_token(run, "run")


def check_token(value: str, what: str) -> str:
    """Refuses what can't stand in a NATS subject (`InvalidError`); returns the value."""
    if not is_token(value):
        fix = "use 1 to 64 letters, digits, '_' or '-'"
        raise InvalidError.of([Problem(what, f"{value[:80]!r} is not a valid name", fix)])
    return value
