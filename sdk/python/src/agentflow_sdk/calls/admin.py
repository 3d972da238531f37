"""The calls that look after the platform. They need the permission `admin`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from agentflow.v1 import admin_pb2 as pb
from agentflow_sdk.convert.answers import reader, record
from agentflow_sdk.models.admin import DeadLetter, DeadLetterChanges, DeadLetterPage, Retention
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("AdminService", pb)


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
) -> Call[DeadLetterPage]:
    """Returns a page of dead letters, oldest first. What is given must match.

    Args:
        origin: Only letters of this service.
        reason: Only letters with this reason.
        run_id: Only letters about this run.
        after_ms: Only letters that were set aside from this time on, ms since the epoch; 0 for no bound.
        before_ms: Only letters that were set aside before this time, ms since the epoch; 0 for no bound.
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page.

    Raises:
        PermissionDeniedError: The API key lacks the permission `admin`.
    """
    wanted = pb.DeadLetterFilter(origin=origin, reason=reason, run_id=run_id, after_ms=after_ms, before_ms=before_ms)
    request = pb.ListDeadLettersRequest(filter=wanted, page_size=limit, page_token=page_token)
    return Call(_METHOD("ListDeadLetters"), request, reader(DeadLetterPage), timeout)


def get_dead_letter(
    sequence: int, *, reveal: bool = False, reason: str = "", timeout: float | None = None
) -> Call[DeadLetter]:
    """Returns a dead letter.

    Args:
        sequence: The number of the letter.
        reveal: True to get its body too. It needs the permission `reveal`.
        reason: Why the body is needed. The audit log keeps it.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The letter.

    Raises:
        NotFoundError: There is no such letter.
        PermissionDeniedError: The API key lacks the permission `admin`, or `reveal` where the body is asked for.
    """
    request = pb.GetDeadLetterRequest(sequence=sequence, reveal=reveal, reveal_reason=reason)

    def read(reply: Any) -> DeadLetter:
        return record(DeadLetter, reply.letter, body=reply.body if reveal else None, truncated=reply.truncated)

    return Call(_METHOD("GetDeadLetter"), request, read, timeout)


def replay_dead_letters(
    sequences: Iterable[int] = (),
    *,
    origin: str = "",
    reason: str = "",
    run_id: str = "",
    after_ms: int = 0,
    before_ms: int = 0,
    all: bool = False,  # noqa: A002  (the name in the API)
    after: int = 0,
    dry_run: bool = False,
    repaired_body: str = "",
    timeout: float | None = None,
) -> Call[DeadLetterChanges]:
    """Appends the facts in dead letters to the log again, each exactly once. One call takes at most 500 letters.

    What is given must match, and something must be given: `all` stands for every letter.

    Args:
        sequences: Only letters of these numbers.
        origin: Only letters of this service.
        reason: Only letters with this reason.
        run_id: Only letters about this run.
        after_ms: Only letters that were set aside from this time on, ms since the epoch; 0 for no bound.
        before_ms: Only letters that were set aside before this time, ms since the epoch; 0 for no bound.
        all: True to mean every letter.
        after: Only letters after this number, where an earlier call stopped.
        dry_run: True to change nothing and to get what would be done.
        repaired_body: The event as JSON after a repair by hand, for one letter. It needs the permission `operator`.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The outcome for each letter, and whether more letters match.

    Raises:
        InvalidArgumentError: Nothing says which letters are meant, or the repaired body is not valid.
        NotFoundError: There is no letter of one of these numbers.
        PermissionDeniedError: The API key lacks the permission `admin`, or `operator` for a repaired body.
    """
    wanted = _filter(sequences, origin, reason, run_id, after_ms, before_ms, all, after)
    request = pb.ReplayDeadLettersRequest(filter=wanted, dry_run=dry_run, repaired_body=repaired_body)
    return Call(_METHOD("ReplayDeadLetters"), request, reader(DeadLetterChanges), timeout)


def purge_dead_letters(
    sequences: Iterable[int] = (),
    *,
    origin: str = "",
    reason: str = "",
    run_id: str = "",
    after_ms: int = 0,
    before_ms: int = 0,
    all: bool = False,  # noqa: A002  (the name in the API)
    after: int = 0,
    dry_run: bool = False,
    timeout: float | None = None,
) -> Call[DeadLetterChanges]:
    """Deletes dead letters forever. One call takes at most 500 letters.

    What is given must match, and something must be given: `all` stands for every letter.

    Args:
        sequences: Only letters of these numbers.
        origin: Only letters of this service.
        reason: Only letters with this reason.
        run_id: Only letters about this run.
        after_ms: Only letters that were set aside from this time on, ms since the epoch; 0 for no bound.
        before_ms: Only letters that were set aside before this time, ms since the epoch; 0 for no bound.
        all: True to mean every letter.
        after: Only letters after this number, where an earlier call stopped.
        dry_run: True to change nothing and to get what would be done.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The outcome for each letter, and whether more letters match.

    Raises:
        InvalidArgumentError: Nothing says which letters are meant.
        NotFoundError: There is no letter of one of these numbers.
        PermissionDeniedError: The API key lacks the permission `admin`.
    """
    wanted = _filter(sequences, origin, reason, run_id, after_ms, before_ms, all, after)
    request = pb.PurgeDeadLettersRequest(filter=wanted, dry_run=dry_run)
    return Call(_METHOD("PurgeDeadLetters"), request, reader(DeadLetterChanges), timeout)


def get_retention(*, timeout: float | None = None) -> Call[Retention]:
    """Returns the time that finished runs stay in the log, and the progress of archiving.

    Args:
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The retention.

    Raises:
        PermissionDeniedError: The API key lacks the permission `admin`.
    """
    return Call(_METHOD("GetRetention"), pb.GetRetentionRequest(), reader(Retention, "retention"), timeout)


def set_retention(keep_ms: int, *, timeout: float | None = None) -> Call[Retention]:
    """Changes the time that finished runs stay in the log, at once and for all orgs.

    Args:
        keep_ms: The time, ms; 0 for forever.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The retention after the change.

    Raises:
        InvalidArgumentError: The time is too short to be safe.
        PermissionDeniedError: The API key lacks the permissions `admin` and `operator`.
    """
    request = pb.SetRetentionRequest(keep_ms=keep_ms)
    return Call(_METHOD("SetRetention"), request, reader(Retention, "retention"), timeout)


def _filter(
    sequences: Iterable[int],
    origin: str,
    reason: str,
    run_id: str,
    after_ms: int,
    before_ms: int,
    every: bool,
    after: int,
) -> Any:
    return pb.DeadLetterFilter(
        sequences=list(sequences),
        origin=origin,
        reason=reason,
        run_id=run_id,
        after_ms=after_ms,
        before_ms=before_ms,
        all=every,
        after_sequence=after,
    )
