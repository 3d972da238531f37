"""A submission's own fields, their bounds and its digest. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from agentflow_common.errors import InvalidError, Problem
from agentflow_gateway import digests
from agentflow_gateway.limits import IDEMPOTENCY_KEY_CHARS_MAX

TAGS_MAX: Final = 32
TAG_NAME: Final = re.compile(r"[A-Za-z0-9_./-]{1,64}\Z")
TAG_VALUE_CHARS_MAX: Final = 256
PRIORITY_MAX: Final = 100
BUDGET_CENTS_MAX: Final = 100_000_000  # a million dollars: beyond that a typing error is likelier than a wish
DEADLINE_MS_MAX: Final = 366 * 86_400_000
EVENT_BYTES_MAX: Final = 7 * 1024 * 1024
FRESH_MS: Final = 60_000  # a run leaves the log later than that after its submission
_TIMED_KEY: Final = re.compile(r"auto-([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")


class Submission(msgspec.Struct, frozen=True):
    """The fields of a submission beside its definition and inputs."""

    idempotency_key: str = ""
    tags: dict[str, str] = {}
    priority: int = 0
    budget_cents: int | None = None
    deadline_ms: int | None = None
    break_at: tuple[str, ...] = ()  # nodes before which the run stops
    step_by_step: bool = False  # the run stops before every node
    unregistered: bool = False  # accepts a definition whose name and version are registered with other content


def is_fresh(idempotency_key: str, now_ms: int) -> bool:
    """True if a client has just made the key: `auto-` and a UUID of version 7, which says when it was made.

    The log has every run of such a key, so its fence alone refuses a second one.
    """
    timed = _TIMED_KEY.match(idempotency_key)
    return timed is not None and abs(now_ms - int(timed[1] + timed[2], 16)) <= FRESH_MS


def check_submission(request: Submission) -> None:
    """Raises InvalidError with every bound that the submission breaks."""
    problems = [*_tag_problems(request.tags)]
    key = request.idempotency_key
    if len(key) > IDEMPOTENCY_KEY_CHARS_MAX:
        fix = f"use at most {IDEMPOTENCY_KEY_CHARS_MAX}, for example a UUID or a hash"
        problems.append(Problem("idempotency_key", f"{len(key):,} characters", fix))
    if abs(request.priority) > PRIORITY_MAX:
        fix = f"choose from -{PRIORITY_MAX} to {PRIORITY_MAX}"
        problems.append(Problem("priority", f"{request.priority} is out of range", fix))
    cents = request.budget_cents
    if cents is not None and not 0 < cents <= BUDGET_CENTS_MAX:
        fix = f"give 1 to {BUDGET_CENTS_MAX:,} cents, or leave it out for no bound of its own"
        problems.append(Problem("budget_cents", f"{cents:,} is out of range", fix))
    deadline = request.deadline_ms
    if deadline is not None and not 0 < deadline <= DEADLINE_MS_MAX:
        fix = f"give 1 to {DEADLINE_MS_MAX:,} ms, or leave it out"
        problems.append(Problem("deadline_ms", f"{deadline:,} is out of range", fix))
    if problems:
        raise InvalidError.of(problems, "the submission is not valid")


def check_tags(tags: Mapping[str, str]) -> None:
    if problems := tuple(_tag_problems(tags)):
        raise InvalidError.of(problems, "the tags are not valid")


def _tag_problems(tags: Mapping[str, str]) -> Iterable[Problem]:
    if len(tags) > TAGS_MAX:
        yield Problem("tags", f"{len(tags)} tags", f"use at most {TAGS_MAX}")
    for name, value in list(tags.items())[:TAGS_MAX]:
        if not TAG_NAME.match(name):
            yield Problem(f"tags[{name[:40]!r}]", "not a tag name", "use 1 to 64 letters, digits, '_', '.', '/' or '-'")
        if len(value) > TAG_VALUE_CHARS_MAX:
            yield Problem(f"tags[{name[:40]!r}]", f"{len(value):,} characters", f"use at most {TAG_VALUE_CHARS_MAX}")


def check_event_size(size: int) -> None:
    """Raises InvalidError if `run.submitted` is too large. size: its bytes. The server takes messages of 8 MiB."""
    if size > EVENT_BYTES_MAX:
        raise InvalidError.at(
            "definition",
            f"the run has {size:,} bytes with its definitions and kept steps, the limit is {EVENT_BYTES_MAX:,}",
            "split the workflow, or fork at an earlier step",
            kind="run_too_large",
        )


def submission_digest(secret: bytes, org: str, source: str, inputs: Any, request: Submission) -> str:
    """Returns the digest of a submission.

    source: `ref:<name@version>` as the client wrote it, or `def:<digest>`. A version that is registered between two
    submissions by reference changes nothing.
    """
    scalars: list[Any] = [request.tags, request.priority, request.budget_cents, request.deadline_ms]
    if request.break_at or request.step_by_step:  # without them the digest is that of earlier versions
        scalars += [request.break_at, request.step_by_step]
    return digests.digest_of(secret, [org, source, inputs, *scalars])
