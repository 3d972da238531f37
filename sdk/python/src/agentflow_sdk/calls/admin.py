"""The calls that look after the platform, as data (see `calls`). They need the permission `admin`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentflow.v1 import admin_pb2
from agentflow_sdk.calls.workflows import Call, Method
from agentflow_sdk.models import admin as models


def _admin(name: str, reply: Any) -> Method:
    return Method(f"/agentflow.v1.AdminService/{name}", reply)


_LIST = _admin("ListDeadLetters", admin_pb2.ListDeadLettersResponse)
_GET = _admin("GetDeadLetter", admin_pb2.GetDeadLetterResponse)
_REPLAY = _admin("ReplayDeadLetters", admin_pb2.ReplayDeadLettersResponse)
_PURGE = _admin("PurgeDeadLetters", admin_pb2.PurgeDeadLettersResponse)
_GET_RETENTION = _admin("GetRetention", admin_pb2.GetRetentionResponse)
_SET_RETENTION = _admin("SetRetention", admin_pb2.SetRetentionResponse)


def list_dead_letters(
    *,
    origin: str = "",
    reason: str = "",
    run_id: str = "",
    after_ms: int = 0,
    before_ms: int = 0,
    limit: int = 50,
    page_token: str = "",
    timeout: float | None = None,
) -> Call[models.DeadLetterPage]:
    """A page of dead letters, oldest first. after_ms, before_ms: when they were buried, ms since the epoch."""
    wanted = _filter((), origin, reason, run_id, after_ms, before_ms, False, 0)
    request = admin_pb2.ListDeadLettersRequest(filter=wanted, page_size=limit, page_token=page_token)
    return Call(_LIST, request, _page, timeout)


def get_dead_letter(
    sequence: int, *, reveal: bool = False, reason: str = "", timeout: float | None = None
) -> Call[models.DeadLetter]:
    """A dead letter. reveal: with its body; needs the permission `reveal` and a reason, is audited."""
    request = admin_pb2.GetDeadLetterRequest(sequence=sequence, reveal=reveal, reveal_reason=reason)

    def read(reply: Any) -> models.DeadLetter:
        return _letter(reply.letter, reply.body if reveal else None, reply.truncated)

    return Call(_GET, request, read, timeout)


def replay_dead_letters(
    sequences: Iterable[int] = (),
    *,
    origin: str = "",
    reason: str = "",
    run_id: str = "",
    after_ms: int = 0,
    before_ms: int = 0,
    all: bool = False,  # noqa: A002  (the filter's word)
    after: int = 0,
    dry_run: bool = False,
    repaired_body: str = "",
    timeout: float | None = None,
) -> Call[models.DeadLetterChanges]:
    """Tells the facts in these letters again, each once, whatever is killed when; at most 500 in one call.

    Letters that match all that is given; `all` means every one. after: only letters after this sequence.
    repaired_body: JSON of the event as it was repaired by hand, for one letter (permission `operator`).
    """
    wanted = _filter(sequences, origin, reason, run_id, after_ms, before_ms, all, after)
    request = admin_pb2.ReplayDeadLettersRequest(filter=wanted, dry_run=dry_run, repaired_body=repaired_body)
    return Call(_REPLAY, request, _changes, timeout)


def purge_dead_letters(
    sequences: Iterable[int] = (),
    *,
    origin: str = "",
    reason: str = "",
    run_id: str = "",
    after_ms: int = 0,
    before_ms: int = 0,
    all: bool = False,  # noqa: A002
    after: int = 0,
    dry_run: bool = False,
    timeout: float | None = None,
) -> Call[models.DeadLetterChanges]:
    """Erases letters for good; at most 500 in one call. The filter is that of `replay_dead_letters`."""
    wanted = _filter(sequences, origin, reason, run_id, after_ms, before_ms, all, after)
    return Call(_PURGE, admin_pb2.PurgeDeadLettersRequest(filter=wanted, dry_run=dry_run), _changes, timeout)


def get_retention(*, timeout: float | None = None) -> Call[models.Retention]:
    """How long finished runs stay in the log, and how far archiving has come."""
    return Call(_GET_RETENTION, admin_pb2.GetRetentionRequest(), lambda reply: _retention(reply.retention), timeout)


def set_retention(keep_ms: int, *, timeout: float | None = None) -> Call[models.Retention]:
    """Changes it live, for all orgs (permission `operator`). keep_ms: 0 for ever."""
    request = admin_pb2.SetRetentionRequest(keep_ms=keep_ms)
    return Call(_SET_RETENTION, request, lambda reply: _retention(reply.retention), timeout)


def _filter(
    sequences: Iterable[int],
    origin: str,
    reason: str,
    run_id: str,
    after_ms: int,
    before_ms: int,
    everything: bool,
    after: int,
) -> Any:
    return admin_pb2.DeadLetterFilter(
        sequences=list(sequences),
        origin=origin,
        reason=reason,
        run_id=run_id,
        after_ms=after_ms,
        before_ms=before_ms,
        all=everything,
        after_sequence=after,
    )


def _letter(message: Any, body: str | None = None, truncated: bool = False) -> models.DeadLetter:
    names = [name for name in models.DeadLetter.__dataclass_fields__ if name not in {"body", "truncated"}]
    return models.DeadLetter(body=body, truncated=truncated, **{name: getattr(message, name) for name in names})


def _page(reply: Any) -> models.DeadLetterPage:
    return models.DeadLetterPage(tuple(_letter(item) for item in reply.letters), reply.next_page_token)


def _changes(reply: Any) -> models.DeadLetterChanges:
    outcomes = tuple(
        models.DeadLetterOutcome(_letter(item.letter), item.outcome, item.sequence, item.problem)
        for item in reply.outcomes
    )
    return models.DeadLetterChanges(outcomes, reply.more)


def _retention(message: Any) -> models.Retention:
    names = models.Retention.__dataclass_fields__
    return models.Retention(**{name: getattr(message, name) for name in names})
