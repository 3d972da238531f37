"""Reasons: the graph of causes below a symptom, and the rule that ranks its roots. Pure.

A reason is a link with the reasons behind it. Each has a confidence: how sure it is that it explains the link before
it. A reason without further ones is a root. The rule:

1. The score of a root is the product of the confidences on its path from the symptom.
2. The root with the highest score comes first. Of equal ones, the one whose evidence stands first in the log does.
3. A root that several paths lead to is listed once, with its best path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from agentflow_common.rpc.traces.explain import Cause, CauseLink
from agentflow_trace.explain.kinds import KINDS

CAUSES_MAX: Final = 10
SCORE_MIN: Final = 0.05  # a root below it is left out
ASIDE: Final = 0.3  # the confidence of what went wrong beside the chain


class Reason(NamedTuple):
    link: CauseLink
    confidence: float = 1.0
    because: tuple[Reason, ...] = ()


def ranked(symptom: Reason) -> tuple[Cause, ...]:
    """Returns the root causes, the most likely first."""
    found: dict[tuple[str, str, str], Cause] = {}
    for score, path in _roots(symptom, 1.0, ()):
        link = path[-1]
        if link.kind not in KINDS or score < SCORE_MIN:
            continue
        cause = Cause(
            kind=link.kind,
            text=link.text,
            run=link.run,
            step=link.step,
            attempt=link.attempt,
            confidence=round(score, 3),
            fix=KINDS[link.kind].fix.replace("RUN", link.run),
            chain=path,
        )
        key = (link.run, link.step, link.kind)
        if key not in found or found[key].confidence < cause.confidence:
            found[key] = cause
    return tuple(sorted(found.values(), key=_rank)[:CAUSES_MAX])


def _rank(cause: Cause) -> tuple[float, int]:
    evidence = cause.chain[-1].evidence
    return -cause.confidence, min((item.seq for item in evidence), default=2**63)


def _roots(reason: Reason, score: float, path: tuple[CauseLink, ...]) -> Iterator[tuple[float, tuple[CauseLink, ...]]]:
    score, path = score * reason.confidence, (*path, reason.link)
    if not reason.because:
        yield score, path
    for further in reason.because:
        yield from _roots(further, score, path)
