"""Dead letters: messages that a service could not use, kept in AF_DEAD with the reason until somebody decides.

The origin identifies a letter (`origin_seq`, a sequence of AF_EVENTS). So each service buries a message once, for as
long as its letter is stored, and the replay of a letter can be found in the log.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common import subjects
from agentflow_common.log.consumers import Delivery

REPLAYS_MAX: Final = 5  # what has died so often will die again: repair it, or purge it
MESSAGES_MAX: Final = 100_000  # of AF_DEAD; beyond it the oldest go
ORIGIN_SEQ: Final = "Agentflow-Origin-Seq"
ORIGIN_SUBJECT: Final = "Agentflow-Origin-Subject"
REASON: Final = "Agentflow-Error"
REPLAYS: Final = "Agentflow-Replays"  # how often it had been replayed before; also on the replayed message
REPLAY_OF: Final = "Agentflow-Replay-Of"  # on the replayed message: the origin_seq of its letter


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a service could not use."""

    seq: int  # in AF_DEAD
    ts: int  # ms since the epoch, when it was buried
    origin: str
    org: str  # org, run: of the subject that it came from; empty where that names none
    run: str
    subject: str
    origin_seq: int
    reason: str
    replays: int
    size: int  # bytes of the body

    @property
    def replayable(self) -> bool:
        """True for a fact. A decision is not replayed: the scheduler takes it again by itself."""
        key = subjects.parse(self.subject)
        return key is not None and self.subject == subjects.run_in(key)


def place(origin: str, delivery: Delivery) -> str:
    """Returns the subject of the letter: one for each message that a service buries."""
    key = subjects.parse(delivery.subject)
    org, run = (key.org, key.name) if key is not None else ("", "")
    return subjects.dead(origin, org, run, delivery.seq)


def headers(delivery: Delivery, why: str) -> dict[str, str]:
    return {
        ORIGIN_SEQ: str(delivery.seq),
        ORIGIN_SUBJECT: delivery.subject,
        REASON: why,
        REPLAYS: (delivery.headers or {}).get(REPLAYS, "0"),
    }


def read(delivery: Delivery) -> DeadLetter:
    """Returns the letter in a message of AF_DEAD, of any version. Its headers alone suffice."""
    found: dict[str, Any] = delivery.headers or {}
    subject = str(found.get(ORIGIN_SUBJECT, ""))
    key = subjects.parse(subject)
    return DeadLetter(
        seq=delivery.seq,
        ts=delivery.ts,
        origin=delivery.subject.split(".")[2],
        org=key.org if key is not None else "",
        run=key.name if key is not None else "",
        subject=subject,
        origin_seq=_number(found.get(ORIGIN_SEQ)),
        reason=str(found.get(REASON, "")),
        replays=_number(found.get(REPLAYS)),
        size=_number(found.get("Nats-Msg-Size")) or len(delivery.data),
    )


def _number(text: Any) -> int:
    return int(text) if isinstance(text, str) and text.isdigit() else 0
