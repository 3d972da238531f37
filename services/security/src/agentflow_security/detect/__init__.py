"""Detection of sensitive parts of a string: pure functions, linear in the text.

Call `detect(text, name)`.
"""

from __future__ import annotations

from typing import Final

from agentflow_common.screening import TOKEN, suspicious
from agentflow_security.detect.assignments import find_assignments
from agentflow_security.detect.checksums import find_cards, find_ibans, find_ssns
from agentflow_security.detect.contacts import find_emails, find_ips
from agentflow_security.detect.findings import CATEGORIES, Detector, Finding, disjoint
from agentflow_security.detect.identities import find_identities
from agentflow_security.detect.opaque import find_opaque
from agentflow_security.detect.phones import find_phones
from agentflow_security.detect.secrets import find_secrets
from agentflow_security.detect.views import decoded, lowered

__all__ = ["CATEGORIES", "DETECTORS", "Detector", "Finding", "detect", "warm"]

DETECTORS: Final[tuple[Detector, ...]] = (
    find_emails,
    find_cards,
    find_ibans,
    find_ssns,
    find_identities,
    find_phones,
    find_ips,
    find_secrets,
    find_assignments,
    find_opaque,
)


def detect(text: str, name: str = "", detectors: tuple[Detector, ...] = DETECTORS) -> list[Finding]:
    """Returns disjoint findings in order. Vault tokens are never found again.

    name: the dict key whose value is the text.
    """
    if not suspicious(text, name):
        return []
    findings = _scan(text, name, detectors)
    view = decoded(text)
    if view is not None:
        offsets = view.offsets
        findings += [Finding(offsets[f.start], offsets[f.end], f.category) for f in _scan(view.text, name, detectors)]
    if "<" in text:
        tokens = [match.span() for match in TOKEN.finditer(text)]
        findings = [part for found in findings for part in _outside(found, tokens)] if tokens else findings
    return disjoint(findings)


def warm() -> None:
    """Loads the data of the detectors before their first use.

    The numbering plans take about 0.3 s.
    """
    detect("09 99 99 99 99 is a number of no country")  # so all of them are asked
    detect(
        "call +44 20 7946 0958 or 020 7946 0958, user@host.example, GB82 WEST 1234, key=0a1B2c3D, -----BEGIN, 10.0.0.1"
    )


def _scan(text: str, name: str, detectors: tuple[Detector, ...]) -> list[Finding]:
    # a vault token becomes as many NULs: offsets stay right, and no pattern matches a NUL
    masked = TOKEN.sub(lambda m: "\0" * (m.end() - m.start()), text) if "<" in text else text
    low = lowered(masked)
    return [found for detector in detectors for found in detector(masked, low, name)]


def _outside(found: Finding, tokens: list[tuple[int, int]]) -> list[Finding]:
    """Returns the parts of a finding outside vault tokens.

    A PEM block, for example, may include one.
    """
    parts: list[Finding] = []
    start = found.start
    for a, b in tokens:
        if b <= start:
            continue
        if a >= found.end:
            break
        if a > start:
            parts.append(Finding(start, a, found.category))
        start = b
    if start < found.end:
        parts.append(Finding(start, found.end, found.category))
    return parts
