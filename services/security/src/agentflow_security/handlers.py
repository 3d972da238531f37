"""PROTECT and RESTORE: examine, store in the vault, audit, and only then answer.

No answer to a failure contains the text.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeVar

import msgspec
import nats.errors

from agentflow_common import ids, screening, subjects
from agentflow_common.clock import Clock
from agentflow_common.errors import AgentFlowError, BlockedError, InvalidError, RetryableError
from agentflow_common.events import AuditRecorded, encode
from agentflow_common.log import blobs
from agentflow_common.log.blobs import PAYLOAD_BYTES_MAX
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.metrics.security import BLOCKED, FINDINGS, RESTORED
from agentflow_common.rpc import AdoptReply, AdoptRequest, ProtectReply, ProtectRequest, RestoreReply, RestoreRequest
from agentflow_security import machine
from agentflow_security.detect import DETECTORS, Detector
from agentflow_security.machine import Protected
from agentflow_security.store import Row, Store
from agentflow_security.vault import Vault

log = logging.getLogger(__name__)

ACTOR: Final = "security"
_THREAD_BYTES_MIN: Final = 32 * 1024  # about 10 ms of detection: longer texts are examined on a thread
_COLLISION_ROUNDS_MAX: Final = 16
Result = TypeVar("Result")


class Handlers:
    def __init__(
        self,
        store: Store,
        vault: Vault,
        event_log: EventLog,
        clock: Clock,
        detectors: tuple[Detector, ...] = DETECTORS,
    ) -> None:
        self._store = store
        self._vault = vault
        self._log = event_log
        self._clock = clock
        self._detectors = detectors

    async def protect(self, request: ProtectRequest) -> ProtectReply:
        """Answers once the vault rows and the audit record are durable."""
        ids.check_owner(request.org, request.run)
        data = _encoded(request.value)
        if not screening.needs_screening(request.value):
            return ProtectReply(value=request.value)
        outcome = await self._examined(request, len(data))
        if not outcome.counts:
            return ProtectReply(value=outcome.value)
        outcome = await self._kept(request, outcome, len(data))
        digest = hashlib.sha256(data).hexdigest()
        parts = (request.org, request.run, request.step, request.purpose, digest)
        await self._audit(request, "protect", ACTOR, request.purpose, outcome.counts, _key(*parts))
        for category, count in outcome.counts.items():
            FINDINGS.labels(category).inc(count)
        return ProtectReply(value=outcome.value, counts=outcome.counts)

    async def restore(self, request: RestoreRequest) -> RestoreReply:
        """Puts back the originals of this org's run; unknown vault tokens stay.

        The audit record is written before the answer.
        """
        ids.check_owner(request.org, request.run)
        for what in ("actor", "reason"):
            if not getattr(request, what).strip():
                raise InvalidError.at(what, f"a restore needs {what}", "say who restores and why")
        question = ProtectRequest(
            org=request.org, run=request.run, value=request.reason, step=request.step, purpose="reason"
        )
        reason = str((await self.protect(question)).value)  # a reason may name the person of a case
        size = len(_encoded(request.value))
        tokens = sorted(set(screening.tokens(request.value)))
        sealed = await self._store.get(request.org, request.run, tokens) if tokens else {}

        def work() -> machine.Restored:
            originals = {t: self._vault.open(request.org, request.run, t, row) for t, row in sealed.items()}
            return machine.restore(request.value, originals, PAYLOAD_BYTES_MAX)

        restored = await _apart(work, size)
        await self._audit(request, "restore", request.actor, reason, restored.counts)
        for category, count in restored.counts.items():
            RESTORED.labels(category).inc(count)
        return RestoreReply(value=restored.value, restored=restored.total)

    async def adopt(self, request: AdoptRequest) -> AdoptReply:
        """Stores the originals of one run's vault tokens for another run of the org too.

        Idempotent.
        """
        ids.check_owner(request.org, request.run)
        ids.check_owner(request.org, request.origin)
        org, run, after, adopted = request.org, request.run, "", 0
        while rows := await self._store.page(org, request.origin, after):

            def reseal(rows: list[tuple[str, str, bytes]] = rows) -> list[Row]:
                made = []
                for token, category, sealed in rows:
                    value = self._vault.open(org, request.origin, token, sealed)
                    digest = self._vault.digest(org, run, category, value)
                    made.append(Row(token, category, digest, self._vault.seal(org, run, token, value)))
                return made

            if taken := await self._store.put(org, run, await asyncio.to_thread(reseal)):
                raise BlockedError(f"{len(taken)} vault tokens of {request.origin} stand for other values in {run}")
            adopted, after = adopted + len(rows), rows[-1][0]
        if adopted:
            whose = ProtectRequest(org=org, run=run, value=None)
            key = _key(org, run, "", "adopt", request.origin)
            await self._audit(whose, "adopt", ACTOR, f"vault tokens of {request.origin}", {"TOKENS": adopted}, key)
        return AdoptReply(adopted=adopted)

    async def _examined(
        self, request: ProtectRequest, size: int, refused: AbstractSet[tuple[bytes, str]] = frozenset()
    ) -> Protected:
        """Returns the protected value.

        Raises BlockedError if it can't be examined: then it is not passed on.
        """
        org, run = request.org, request.run

        def digest(category: str, value: str) -> bytes:
            return self._vault.digest(org, run, category, value)

        try:
            return await _apart(lambda: machine.protect(request.value, digest, refused, self._detectors), size)
        except InvalidError:
            raise
        except Exception as error:
            BLOCKED.inc()
            log.exception("detection failed; the text is blocked")
            reason = f"{request.purpose}: {type(error).__name__}"
            await self._audit(request, "block", ACTOR, reason, {})
            if isinstance(error, BlockedError):
                raise
            raise BlockedError(
                f"the text could not be examined ({type(error).__name__} in a detector) and is not passed on; "
                "see the log of the security service"
            ) from error

    async def _kept(self, request: ProtectRequest, outcome: Protected, size: int) -> Protected:
        """Makes the vault rows durable.

        If a vault token belongs to another value, the value is protected again with a longer one.
        """
        refused: set[tuple[bytes, str]] = set()
        kept: set[tuple[str, bytes]] = set()
        for _ in range(_COLLISION_ROUNDS_MAX):
            fresh = {token: secret for token, secret in outcome.secrets.items() if (token, secret.digest) not in kept}

            def rows(fresh: dict[str, machine.Secret] = fresh) -> list[Row]:
                seal = self._vault.seal
                return [
                    Row(token, s.category, s.digest, seal(request.org, request.run, token, s.value))
                    for token, s in fresh.items()
                ]

            taken = await self._store.put(request.org, request.run, await _apart(rows, size))
            if not taken:
                return outcome
            kept.update((token, secret.digest) for token, secret in fresh.items() if token not in taken)
            refused.update((fresh[token].digest, token) for token in taken)
            outcome = await self._examined(request, size, refused)
        raise BlockedError("this run has no free ids for vault tokens; the text is not passed on")

    async def _audit(
        self,
        request: ProtectRequest | RestoreRequest,
        action: str,
        actor: str,
        reason: str,
        counts: dict[str, int],
        msg_id: str = "",
    ) -> None:
        """Appends an audit record, durable on return.

        Raises RetryableError if the audit log can't be written. Then the question is not answered.
        """
        record = AuditRecorded(
            org=request.org,
            run=request.run,
            ts=self._clock.now_ms(),
            action=action,
            actor=actor,
            step=request.step,
            reason=reason,
            counts=counts,
        )
        entry = Entry(subjects.audit(request.org, request.run), encode(record), msg_id)
        try:
            await self._log.append(entry)
        except (AgentFlowError, nats.errors.Error, OSError) as error:
            raise RetryableError(
                f"the audit log is not reachable, so this {action} is not answered; ask again", kind="audit_unavailable"
            ) from error


async def _apart(work: Callable[[], Result], size: int) -> Result:
    return await asyncio.to_thread(work) if size >= _THREAD_BYTES_MIN else work()


def _encoded(value: Any) -> bytes:
    data = msgspec.json.encode(value)
    blobs.check_size(data, "the value")
    return data


def _key(*parts: str) -> str:
    return "protect-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]
