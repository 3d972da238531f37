"""Digests that show whether two requests with one idempotency key ask for the same. Pure.

They are keyed with a secret: the log contains them, and inputs may be personal data that is easy to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any, Final

import msgspec

from agentflow_common import screening
from agentflow_common.events import RunSubmitted

_STORED_KEY: Final = re.compile(r"hmac:[0-9a-f]{32}\Z")


def digest_of(secret: bytes, covered: list[Any]) -> str:
    """Returns the keyed digest of everything that a request asks for."""
    return hmac.new(secret, msgspec.json.encode(covered, order="sorted"), hashlib.sha256).hexdigest()


def stored_key(secret: bytes, key: str) -> str:
    """Returns an idempotency key as the log stores it: itself, or a keyed digest if it looks like personal data.

    A digest stays as it is: answers show it, so a client may send it in place of the key.
    """
    if not screening.needs_screening(key) or _STORED_KEY.match(key):
        return key
    return "hmac:" + hmac.new(secret, key.encode(), hashlib.sha256).hexdigest()[:32]


def same_submission(first: RunSubmitted, digest: str) -> bool:
    return hmac.compare_digest(first.digest, digest)
