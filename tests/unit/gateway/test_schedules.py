"""The gateway's pure part of schedules: signatures of webhooks, subjects that are open, what templates are given."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError, PermissionDeniedError, UnauthenticatedError
from agentflow_common.schedules import spec as schedule_spec
from agentflow_gateway import digests
from agentflow_gateway.schedules import subject_rules, webhook_signatures
from agentflow_gateway.schedules.firing import variables
from agentflow_gateway.schedules.subject_listeners import payload_of
from agentflow_gateway.settings import GatewaySettings
from tests.support.webhooks import sign

MASTER = b"m" * 32
SECRET = webhook_signatures.secret_of(MASTER, "acme", "nightly", "u1", 1)
BODY = b'{"order": 7}'
NOW = 1_800_000_000
OLD = sign(SECRET, BODY, NOW - 301)


def hub(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_a_secret_is_of_one_org_one_schedule_one_life_and_one_version() -> None:
    others = [
        webhook_signatures.secret_of(MASTER, "acme2", "nightly", "u1", 1),
        webhook_signatures.secret_of(MASTER, "acme", "nightly2", "u1", 1),
        webhook_signatures.secret_of(MASTER, "acme", "nightly", "u2", 1),
        webhook_signatures.secret_of(MASTER, "acme", "nightly", "u1", 2),
        webhook_signatures.secret_of(b"n" * 32, "acme", "nightly", "u1", 1),
    ]
    assert len({SECRET, *others}) == 6
    assert webhook_signatures.secret_of(MASTER, "acme", "nightly", "u1", 1) == SECRET


@pytest.mark.parametrize(
    ("headers", "delivery"),
    [
        ({"x-agentflow-signature": sign(SECRET, BODY, NOW - 299), "x-delivery-id": "d1"}, "d1"),
        ({"x-hub-signature-256": hub(BODY), "x-github-delivery": "g1"}, "g1"),
        ({"authorization": f"Bearer {SECRET}", "idempotency-key": "k1"}, "k1"),
        ({"authorization": f"bearer  {SECRET} "}, ""),
    ],
)
def test_a_delivery_that_is_signed_is_taken(headers: dict[str, str], delivery: str) -> None:
    assert webhook_signatures.verify(headers, BODY, SECRET, NOW) == delivery


def test_without_an_id_the_signature_tells_a_delivery_from_another() -> None:
    first = webhook_signatures.verify({"x-agentflow-signature": sign(SECRET, BODY, NOW)}, BODY, SECRET, NOW)
    again = webhook_signatures.verify({"x-agentflow-signature": sign(SECRET, BODY, NOW)}, BODY, SECRET, NOW + 9)
    other = webhook_signatures.verify({"x-agentflow-signature": sign(SECRET, BODY, NOW + 1)}, BODY, SECRET, NOW)
    assert first == again != other


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, "send `x-agentflow-signature`"),
        ({"x-agentflow-signature": "t=1"}, "is not `t="),
        ({"x-agentflow-signature": sign("whk_other", BODY, NOW)}, "does not match"),
        ({"x-agentflow-signature": sign(SECRET, BODY + b" ", NOW)}, "does not match"),
        ({"x-agentflow-signature": OLD}, "older than 300 s"),
        ({"x-agentflow-signature": sign(SECRET, BODY, NOW + 301)}, "from the future"),
        (
            {"x-agentflow-signature": OLD.replace(str(NOW - 301), str(NOW))},
            "not match",
        ),
        ({"x-hub-signature-256": hub(BODY)}, "has no id"),
        ({"x-hub-signature-256": hub(b"other"), "x-delivery-id": "d"}, "does not match"),
        ({"authorization": "Bearer whk_other"}, "key does not match"),
        ({"authorization": "Bearer"}, "key does not match"),
        ({"authorization": f"Basic {SECRET}"}, "send `x-agentflow-signature`"),
        # a wrong signature is not saved by a right key beside it
        (
            {"x-agentflow-signature": sign("x", BODY, NOW), "authorization": f"Bearer {SECRET}"},
            "does not match",
        ),
    ],
)
def test_any_other_delivery_is_refused(headers: dict[str, str], told: str) -> None:
    with pytest.raises(UnauthenticatedError, match=told) as caught:
        webhook_signatures.verify(headers, BODY, SECRET, NOW)
    assert SECRET not in str(caught.value)


def test_a_delivery_id_is_bounded() -> None:
    with pytest.raises(InvalidError):
        webhook_signatures.verify({"authorization": f"Bearer {SECRET}", "x-delivery-id": "d" * 201}, BODY, SECRET, NOW)


@pytest.mark.parametrize(
    ("pattern", "subject", "covered"),
    [
        (">", "orders.created", True),
        ("acme.>", "acme.orders.*", True),
        ("acme.>", "acme", False),
        ("acme.>", "*.orders", False),
        ("acme.*", "acme.orders", True),
        ("acme.*", "acme.orders.created", False),
        ("acme.*", "acme.>", False),
        ("acme.orders", "acme.*", False),
        ("orders.>", "orders.>", True),
    ],
)
def test_what_a_pattern_covers(pattern: str, subject: str, covered: bool) -> None:
    assert subject_rules.covers(pattern, subject) is covered


def settings(**more: Any) -> GatewaySettings:
    return GatewaySettings(**more)


def test_other_orgs_than_the_default_one_are_kept_to_their_own_subjects() -> None:
    subject_rules.check_allowed("orders.created", "default", settings())
    subject_rules.check_allowed("acme.orders", "acme", settings())
    with pytest.raises(PermissionDeniedError, match=r"acme\.>"):
        subject_rules.check_allowed("orders.created", "acme", settings())
    listed = settings(trigger_subjects="shared.>, tenants.{org}.*")
    subject_rules.check_allowed("shared.news.today", "acme", listed)
    subject_rules.check_allowed("tenants.acme.orders", "acme", listed)
    for org, subject in (("acme", "tenants.other.orders"), ("default", "orders.created"), ("acme", "tenants.*.orders")):
        with pytest.raises(PermissionDeniedError):
            subject_rules.check_allowed(subject, org, listed)


def test_what_templates_are_given() -> None:
    spec = schedule_spec.parse({"name": "n", "workflow": "w", "cron": "@daily", "time_zone": "America/New_York"})
    event = ev.ScheduleFired(
        org="o", run="sched_1", ts=1, number=7, child="run_1", at=1_793_581_200_000, cause="webhook", name="n",
        spec=spec.canonical(), id="d1",
    )  # fmt: skip
    found = variables(event, spec, {"a": 1})
    assert found["schedule"] == {
        "name": "n", "id": "sched_1", "time": "2026-11-01T20:00:00-05:00", "date": "2026-11-01",
        "time_ms": 1_793_581_200_000, "number": 7,
    }  # fmt: skip
    assert found["trigger"] == {"kind": "webhook", "id": "d1", "payload": {"a": 1}}


@pytest.mark.parametrize(
    ("data", "payload"), [(b"", None), (b'{"a": 1}', {"a": 1}), (b"plain", "plain"), (b"\xff", "\ufffd"), (b"7", 7)]
)
def test_a_message_is_json_or_text(data: bytes, payload: Any) -> None:
    assert payload_of(data) == payload


def test_an_id_that_was_told_may_be_sent_again_in_the_place_of_the_one_that_it_stands_for() -> None:
    stored = digests.stored_key(MASTER, "anna@example.com")
    assert "anna" not in stored
    assert digests.stored_key(MASTER, stored) == stored


def test_a_file_that_says_nothing_of_keys_keeps_them_and_none_goes_back() -> None:
    def carried(trigger: dict[str, Any], known: dict[str, Any]) -> Any:
        spec = schedule_spec.parse({"name": "n", "workflow": "w", "cron": "@daily", "trigger": trigger})
        return webhook_signatures.carried(spec.canonical(), spec, {"trigger": known}).get("trigger")

    rotated = {"webhook": True, "key_version": 2, "old_key_until": "2030-01-01"}
    assert carried({"webhook": True}, rotated) == rotated
    assert carried({"webhook": True}, {"webhook": True}) == {"webhook": True}
    assert carried({"webhook": True, "key_version": 3}, rotated) == {"webhook": True, "key_version": 3}
    assert carried({}, {}) is None
    with pytest.raises(InvalidError, match="an older secret can't be used again"):
        carried({"webhook": True, "key_version": 1}, rotated)
