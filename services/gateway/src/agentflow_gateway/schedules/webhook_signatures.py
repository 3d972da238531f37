"""Verifies deliveries of webhooks: the secret, the signature, the delivery's id. Pure.

A delivery is signed in one of three ways, all with the schedule's own secret:

- `x-agentflow-signature: t=<unix seconds>,v1=<hex>`, an HMAC-SHA256 of `<t>.<body>`. It is valid for 5 minutes.
- `x-hub-signature-256: sha256=<hex>`, an HMAC-SHA256 of the body as GitHub signs. It does not expire, so a delivery id
  must come with it. The same body under another id is another delivery.
- `authorization: Bearer <secret>`, over TLS only, since it shows the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentflow_common.errors import InvalidError, Problem, UnauthenticatedError
from agentflow_common.schedules.spec import Spec
from agentflow_gateway.limits import check_text

REPLAY_S: Final = 300
DELIVERY_HEADERS: Final = ("x-delivery-id", "idempotency-key", "x-github-delivery", "webhook-id")
_SIGNED: Final = re.compile(r"t=(\d{1,12}),\s*v1=([0-9a-f]{64})\Z")
_HUB: Final = re.compile(r"sha256=([0-9a-f]{64})\Z")


def secret_of(master: bytes, org: str, schedule: str, uid: str, version: int) -> str:
    """Returns `whk_` and 256 bits. They are derived and stored nowhere; each version of the key is another secret."""
    message = "\x00".join((org, schedule, uid, str(version))).encode()
    return "whk_" + hmac.new(master, b"webhook\x00" + message, hashlib.sha256).hexdigest()


def carried(plain: dict[str, Any], spec: Spec, before: dict[str, Any]) -> dict[str, Any]:
    """Returns the new spec with the earlier one's keys if it does not mention them.

    So a file that is older than a rotation does not bring back the old secret. InvalidError for an earlier secret.
    """
    trigger = before.get("trigger", {})
    keys = {name: trigger[name] for name in ("key_version", "old_key_until") if name in trigger}
    if not {"key_version", "old_key_until"} & spec.trigger.model_fields_set:
        return {**plain, "trigger": {**plain.get("trigger", {}), **keys}} if keys else plain
    if spec.trigger.key_version < (newest := trigger.get("key_version", 1)):
        fix = f"leave `key_version` out to keep {newest}, or use {newest + 1}"
        problem = Problem("trigger.key_version", f"{newest} is in use: an older secret can't be used again", fix)
        raise InvalidError.of([problem], "the schedule is not valid", kind="invalid_schedule")
    return plain


def _mac(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def verify(headers: Mapping[str, str], body: bytes, secret: str, now_s: float) -> str:
    """Returns the delivery's id, empty if a bearer sent none. UnauthenticatedError names the mistake, and no more.

    headers: names in lower case.
    """
    delivery = next((headers[name] for name in DELIVERY_HEADERS if headers.get(name)), "")
    check_text(delivery, "delivery id", 200)
    if signature := headers.get("x-agentflow-signature"):
        match = _SIGNED.match(signature.strip())
        if match is None:
            raise refusal("`x-agentflow-signature` is not `t=<unix seconds>,v1=<hex>`")
        if not hmac.compare_digest(match[2], _mac(secret, f"{match[1]}.".encode() + body)):
            raise refusal("the signature does not match")
        if abs(now_s - int(match[1])) > REPLAY_S:
            raise refusal(f"the signature is older than {REPLAY_S} s, or from the future: check the clock")
        return delivery or match[2]
    if signature := headers.get("x-hub-signature-256"):
        match = _HUB.match(signature.strip())
        if match is None or not hmac.compare_digest(match[1], _mac(secret, body)):
            raise refusal("the signature does not match")
        if not delivery:
            raise refusal(f"the delivery has no id: send it as one of {', '.join(DELIVERY_HEADERS)}")
        return delivery
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        if not hmac.compare_digest(key.strip().encode(), secret.encode()):
            raise refusal("the key does not match")
        return delivery
    raise refusal("send `x-agentflow-signature`, `x-hub-signature-256` or `authorization: Bearer <secret>`")


def verify_any(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_s: float) -> tuple[str, int]:
    """Returns (the delivery's id, the number of the secret that fits). If none fits, raises the error for the first."""
    first: UnauthenticatedError | None = None
    for index, secret in enumerate(secrets):
        try:
            return verify(headers, body, secret, now_s), index
        except UnauthenticatedError as error:
            first = first or error
    raise first or refusal("the key does not match")


def refusal(what: str) -> UnauthenticatedError:
    return UnauthenticatedError(f"this webhook refuses the delivery: {what}", kind="webhook_refused")
