"""For tests: signs deliveries of webhooks as a sender does."""

from __future__ import annotations

import hashlib
import hmac


def sign(secret: str, body: bytes, at_s: int) -> str:
    """Returns the value of `x-agentflow-signature`."""
    return f"t={at_s},v1={hmac.new(secret.encode(), f'{at_s}.'.encode() + body, hashlib.sha256).hexdigest()}"
