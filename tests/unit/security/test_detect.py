"""What the detectors find and leave alone: by hand for each form, and by figures on the shared development data."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from typing import Any

import pytest

from agentflow_security.detect import detect
from tests.support.paths import ROOT

DATA = ROOT.parent / "shared" / "data" / "security"
COVERED = ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS")
SECRET = frozenset({"API_KEY", "PASSWORD", "PRIVATE_KEY"})

# built from parts: no scanner should take this file for a leak
RANDOM = "9fK2" + "xQ7vLm" + "3ZpR8" + "tYwB4n" + "Hc6JdGs1"
AWS_SECRET = "wJalrXUtnFEMI/" + "K7MDENG/" + "bPxRfiCY" + "EXAMPLEKEY"
HEX40 = "3b9f1c" * 6 + "7a2d"
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIB" + RANDOM + "\n-----END RSA " + "PRIVATE KEY-----"
FULL_WIDTH = "4111111111111111".translate({ord("0") + n: 0xFF10 + n for n in range(10)})
_JWT_PARTS = (b'{"alg":"HS256"}', b'{"sub":"12345"}', b"x" * 32)
JWT = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in _JWT_PARTS)


def found(text: str, name: str = "") -> list[tuple[str, str]]:
    return [(item.category, text[item.start : item.end]) for item in detect(text, name)]


@pytest.mark.parametrize(
    ("text", "category", "value"),
    [
        ("To: Jane <jane.doe+x@mail.example.co.uk>,", "EMAIL_ADDRESS", "jane.doe+x@mail.example.co.uk"),
        ("[write](mailto:a_b@example.org?subject=x)", "EMAIL_ADDRESS", "a_b@example.org"),
        ("https://x.io/?mail=jane%40example.com&a=1", "EMAIL_ADDRESS", "jane%40example.com"),
        ("<b>jane&#64;example.com</b>", "EMAIL_ADDRESS", "jane&#64;example.com"),
        ("Grüße an jörg@müller.de.", "EMAIL_ADDRESS", "jörg@müller.de"),
        ("call +44 20 7946 0958 now", "PHONE_NUMBER", "+44 20 7946 0958"),
        ("+12025550123 +12025550124", "PHONE_NUMBER", "+12025550123"),
        ("(202) 555-0123", "PHONE_NUMBER", "(202) 555-0123"),
        ("202.555.0123 ext. 12", "PHONE_NUMBER", "202.555.0123 ext. 12"),
        ("Tel.: 030 / 901820", "PHONE_NUMBER", "030 / 901820"),
        ("0044 20 7946 0958", "PHONE_NUMBER", "0044 20 7946 0958"),
        ("my mobile number is 4155550132", "PHONE_NUMBER", "4155550132"),
        ("(see +44 20 7946 0958)", "PHONE_NUMBER", "+44 20 7946 0958"),
        ("ring +44 20 7946 0958 12 times", "PHONE_NUMBER", "+44 20 7946 0958"),
        ("hotline, +44 20\n7946 0958. The", "PHONE_NUMBER", "+44 20\n7946 0958"),
        ("+44 20 7946\r\n0958", "PHONE_NUMBER", "+44 20 7946\r\n0958"),
        ("+44 20\n7946 0958\n12 High Street", "PHONE_NUMBER", "+44 20\n7946 0958"),
        ("+44 20 7946 0958\n12 High Street", "PHONE_NUMBER", "+44 20 7946 0958"),
        ("(at +1 (415)\n  555-0132)", "PHONE_NUMBER", "+1 (415)\n  555-0132"),
        ("202-555-\n0123", "PHONE_NUMBER", "202-555-\n0123"),
        ("Tel.: 030\n901820", "PHONE_NUMBER", "030\n901820"),
        ("Diensttelefon: 030\n901820", "PHONE_NUMBER", "030\n901820"),
        ("pay 4111 1111 1111 1111 today", "CREDIT_CARD", "4111 1111 1111 1111"),
        ("4111 1111\n  1111 1111", "CREDIT_CARD", "4111 1111\n  1111 1111"),
        ("4111-1111-\n1111-1111", "CREDIT_CARD", "4111-1111-\n1111-1111"),
        ("4111 11\n11 1111 1111", "CREDIT_CARD", "4111 11\n11 1111 1111"),
        ("3782-822463-10005", "CREDIT_CARD", "3782-822463-10005"),
        ("c=5555%205555%205555%204444", "CREDIT_CARD", "5555%205555%205555%204444"),
        (FULL_WIDTH, "CREDIT_CARD", FULL_WIDTH),
        ("IBAN DE89 3704 0044\n0532 0130 00.", "IBAN_CODE", "DE89 3704 0044\n0532 0130 00"),
        ("iban: gb29nwbk60161331926819", "IBAN_CODE", "gb29nwbk60161331926819"),
        ("SSN 536-90-4399", "US_SSN", "536-90-4399"),
        ("is 536-90-\n4399, so", "US_SSN", "536-90-\n4399"),
        ("social security number 536-904399", "US_SSN", "536-904399"),
        ("social security number 536904399", "US_SSN", "536904399"),
        ("from 203.0.113.77:8080", "IP_ADDRESS", "203.0.113.77"),
        ("http://[2001:db8::1]/x", "IP_ADDRESS", "2001:db8::1"),
        ("-> AKIA" + "Q3EGRTVZ7LMWXYZ2 <-", "API_KEY", "AKIA" + "Q3EGRTVZ7LMWXYZ2"),
        ("ghp_" + (RANDOM + RANDOM)[:36], "API_KEY", "ghp_" + (RANDOM + RANDOM)[:36]),
        ("key sk-ant-" + "api03-" + RANDOM, "API_KEY", "sk-ant-" + "api03-" + RANDOM),
        ("sk-proj-" + RANDOM, "API_KEY", "sk-proj-" + RANDOM),
        ("AIza" + (RANDOM + RANDOM)[:35], "API_KEY", "AIza" + (RANDOM + RANDOM)[:35]),
        ("xoxb-" + "1234567890-" + RANDOM, "API_KEY", "xoxb-" + "1234567890-" + RANDOM),
        ("sk_live_" + RANDOM, "API_KEY", "sk_live_" + RANDOM),
        ("Authorization: Bearer " + RANDOM, "API_KEY", RANDOM),
        ("id_token=" + JWT, "API_KEY", JWT),
        ("x\n" + PEM + "\ny", "PRIVATE_KEY", PEM),
        ('aws_secret_access_key = "' + HEX40 + '"', "API_KEY", HEX40),
        ('{"config": "API_TOKEN=' + RANDOM + '\\nDEBUG=1"}', "API_KEY", RANDOM),
        ("k=AKIAQ3EG\n" + "RTVZ7LMWXYZ2.", "API_KEY", "AKIAQ3EG\n" + "RTVZ7LMWXYZ2"),
        (
            "MODEL_KEY=sk-proj-" + RANDOM[:16] + "\n" + RANDOM[16:],
            "API_KEY",
            "sk-proj-" + RANDOM[:16] + "\n" + RANDOM[16:],
        ),
        ("STAGING_SECRET_KEY=" + RANDOM[:20] + "\n" + RANDOM[20:], "API_KEY", RANDOM[:20] + "\n" + RANDOM[20:]),
        ("x\n" + PEM.replace("PRIVATE KEY", "PRIVATE\nKEY"), "PRIVATE_KEY", PEM.replace("PRIVATE KEY", "PRIVATE\nKEY")),
        ("AWS_SECRET_ACCESS_KEY=" + AWS_SECRET, "API_KEY", AWS_SECRET),
        ("the secret access key " + AWS_SECRET, "API_KEY", AWS_SECRET),
        (
            "AWS_SECRET_ACCESS_KEY=" + AWS_SECRET[:21] + "\n" + AWS_SECRET[21:],
            "API_KEY",
            AWS_SECRET[:21] + "\n" + AWS_SECRET[21:],
        ),
        ("api_key: " + RANDOM[:16] + "EXAMPLE", "API_KEY", RANDOM[:16] + "EXAMPLE"),
        ("password=" + "hunter2!", "PASSWORD", "hunter2!"),
        ("postgresql://app:" + "s3cr3tpw@db.internal/x", "PASSWORD", "s3cr3tpw"),
        ("Server=h;Uid=sa;Pwd=" + "Tr0ub4dor;Database=d", "PASSWORD", "Tr0ub4dor"),
    ],
)
def test_finds(text: str, category: str, value: str) -> None:
    assert (category, value) in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "released 2024-01-15, 15.01.2024 and 01/15/2024 at 12:30:45",
        "total $1,234,567.89 or 1 234 567 EUR, order 1234567890, id 20240115123456",
        "version 1.2.3.4, v10.0.0.1, Chrome/120.0.0.0, lib 1.2.3",
        "4111 1111 1111 1112 and 1234567812345678",
        "DE89 3704 0044 0532 0130 01",
        "000-12-3456 666-12-3456 123-00-4567 123-45-0000",
        "std::vector, items[::2], 10:20:30, Face::Add",
        "npm i lodash@4.17.21; icon@2x.png; git@github.com:org/repo.git",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "run 550e8400-e29b-41d4-a716-446655440000 sha256:" + "ab12" * 16,
        "password: string, token_count: 12345678, max_tokens=4096000",
        "password = os.environ['DB_PASSWORD']; api_key=${API_KEY}; token={{token}}",
        "api_key=your-api-key-here API_KEY=YOUR_API_KEY token=<YOUR_TOKEN> api_key: 'YOUR-KEY-1234'",
        "password=changeme",
        "secret=xxxxxxxxxxxx",
        "token=example-token-123; SECRET_KEY=my-example-secret",
        "+5\n12345 67",
        "values 1 202\n555 0123, total (300)\n400 500",
        "2024-01-15\n2024-01-16\n",
        "private_key = load_private_key_and_certificates\nload_pkcs12 = 1",
        "<EMAIL_ADDRESS:7Q2M4K> and password=<PASSWORD:ABCDEF>",
        "see document_analysis@3 and step analyze[12], 1234567 items in 8765432 ms",
    ],
)
def test_leaves_alone(text: str) -> None:
    assert found(text) == []


def test_a_telling_dict_key_is_context() -> None:
    assert found("correct horse battery", "db_password") == [("PASSWORD", "correct horse battery")]
    assert found(RANDOM.lower(), "apiKey") == [("API_KEY", RANDOM.lower())]
    assert found("536904399", "ssn") == [("US_SSN", "536904399")]
    for text, name in (
        ("string", "password"),
        ("reports/q3.pdf", "document_key"),
        ("docs/2024/report_0123456789.pdf", "key"),
        ("12345678", "token_count"),
    ):
        assert found(text, name) == []


def test_overlaps_become_one_finding() -> None:
    text = "password=jane.doe@example.com"
    assert [value for _, value in found(text)] == ["jane.doe@example.com"]


def _rows(name: str) -> list[dict[str, Any]]:
    path = DATA / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"development data not there: ../shared/data/security/{path.name}")
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


def test_figures_on_personal_data() -> None:
    right: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    rows = _rows("pii_dev") + [row for row in _rows("pii_unit_dev") if row["ent"] in COVERED]
    for row in rows:
        answers = set(detect(row["text"]))
        for start, end, label in row["spans"]:
            if label in COVERED:
                hits = {a for a in answers if a.category == label and a.start < end and start < a.end}
                (right if hits else missed)[label] += 1
                answers -= hits
        wrong.update(a.category for a in answers)
    for category in COVERED:
        assert right[category] / (right[category] + missed[category]) >= 0.95, category
        assert right[category] / (right[category] + wrong[category]) >= 0.95, category


def test_figures_on_secrets() -> None:
    verdicts = Counter(
        (row["y"], any(item.category in SECRET for item in detect(row["text"]))) for row in _rows("secrets_dev")
    )
    assert verdicts[1, True] / (verdicts[1, True] + verdicts[1, False]) >= 0.94
    assert verdicts[1, True] / (verdicts[1, True] + verdicts[0, True]) >= 0.98
