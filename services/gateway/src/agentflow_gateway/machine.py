"""What the gateway decides, as pure functions: who may call what, whether a request is sound, what a digest covers.

No I/O, no clock, no random number, no gRPC: identities, secrets and times arrive as arguments. Refusals are raised as
the AgentFlowError that the client gets; problems name the place and the fix.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from agentflow_common.errors import InvalidError, PermissionDeniedError, Problem, UnauthenticatedError
from agentflow_common.events import RunSubmitted
from agentflow_common.runs.state import MARKER, marker_place

PERMISSIONS: Final = ("read", "write", "admin", "reveal", "operator", "auditor")
IDEMPOTENCY_KEY_CHARS_MAX: Final = 256
TAGS_MAX: Final = 32
TAG_NAME: Final = re.compile(r"[A-Za-z0-9_./-]{1,64}\Z")
TAG_VALUE_CHARS_MAX: Final = 256
PRIORITY_MAX: Final = 100
BUDGET_CENTS_MAX: Final = 100_000_000  # a million dollars: beyond that a typing error is likelier than a wish
DEADLINE_MS_MAX: Final = 366 * 86_400_000
EVENT_BYTES_MAX: Final = 7 * 1024 * 1024
REASON_CHARS_MAX: Final = 500
PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_MAX: Final = 1000
NUMBER_EXACT_MAX: Final = 2**53  # integers above it are not exact as a protobuf number (a double)

_READ: Final = ("GetRun", "ListRuns", "WatchRun", "ValidateWorkflow", "GetPrompt", "ListPrompts", "ListBudgets",
                "GetBudget", "GetTrace", "QueryTraces", "ListApprovals", "ExplainRun", "ListLanes", "GetLane",
                "ListVersions", "DiffWorkflows", "GetSchedule", "ListSchedules", "PreviewSchedule",
                "ListCalendars", "ListTools", "GetTool")  # fmt: skip
_WRITE: Final = ("RegisterWorkflow", "SubmitWorkflow", "CancelRun", "CreatePrompt", "PauseRun", "ResumeRun",
                 "SignalRun", "AnswerApproval", "ResolveOutcome", "ForkRun", "RetryRun", "BatchRuns", "PauseWorkflow",
                 "ResumeWorkflow", "SetLabel", "CreateSchedule", "UpdateSchedule", "PauseSchedule", "ResumeSchedule",
                 "TriggerSchedule", "BackfillSchedule", "DeleteSchedule", "GetWebhook", "RotateWebhook",
                 "SetCalendar", "DeleteCalendar")  # fmt: skip
_ADMIN: Final = ("CreateBudget", "UpdateBudget", "DeleteBudget", "ListDeadLetters", "GetDeadLetter",
                 "ReplayDeadLetters", "PurgeDeadLetters",
                 "GetRetention", "SetRetention", "SetLane", "DeleteWorkflow")  # fmt: skip
_AUDITOR: Final = ("ListAuditEntries", "GetAuditEntry", "VerifyAuditLog")
PERMISSION_OF: Final[Mapping[str, str]] = (
    dict.fromkeys(_READ, "read")
    | dict.fromkeys(_WRITE, "write")
    | dict.fromkeys(_ADMIN, "admin")
    | dict.fromkeys(_AUDITOR, "auditor")
)
_STORED_KEY: Final = re.compile(r"hmac:[0-9a-f]{32}\Z")
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")


class Identity(msgspec.Struct, frozen=True):
    """Who calls, by the API key. actor: how events and audit entries name the caller."""

    key_id: str
    org: str
    permissions: tuple[str, ...]
    name: str = ""

    @property
    def actor(self) -> str:
        return f"{self.name}:{self.key_id}" if self.name else self.key_id


class Submission(msgspec.Struct, frozen=True):
    """A submission's scalars, already plain. budget_cents, deadline_ms: None when absent.

    unregistered: accepts a definition whose name and version are registered with other content.
    """

    idempotency_key: str = ""
    tags: dict[str, str] = {}
    priority: int = 0
    budget_cents: int | None = None
    deadline_ms: int | None = None
    unregistered: bool = False


# --- who ---


def bearer_key(metadata: Mapping[str, str]) -> str:
    """The API key that the call carries. UnauthenticatedError tells how to send one."""
    header = metadata.get("authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if metadata.get("x-api-key", "").strip():
        return metadata["x-api-key"].strip()
    if header:
        raise UnauthenticatedError(
            "the `authorization` metadata is not `Bearer <api key>`", kind="malformed_credentials"
        )
    raise UnauthenticatedError(
        "no API key: send the metadata `authorization: Bearer <api key>` (or `x-api-key: <api key>`)",
        kind="missing_credentials",
    )


def key_digest(key: str) -> bytes:
    """What is stored of a key. Plain SHA-256 suffices: keys are random, not chosen by people."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def require(identity: Identity, permission: str, what: str) -> None:
    """`admin` includes `read`, `write` and `auditor`. It does not include `reveal`, nor `operator` (all orgs)."""
    held = identity.permissions
    if permission in held or (permission in {"read", "write", "auditor"} and "admin" in held):
        return
    raise PermissionDeniedError(
        f"{what} needs the permission `{permission}`; this API key has {', '.join(held) or 'none'}",
        kind="missing_permission",
    )


def authorise(identity: Identity, method: str, org_header: str) -> None:
    """method: the bare name (`GetRun`). A method that is not listed is refused: fail closed."""
    if org_header and org_header != identity.org:
        raise PermissionDeniedError(
            f"unknown org or not yours: {org_header[:64]!r}; leave out `x-org-id`, the API key determines the org",
            kind="wrong_org",
        )
    permission = PERMISSION_OF.get(method)
    if permission is None:
        raise PermissionDeniedError(f"{method} is not open to API keys", kind="unknown_method")
    require(identity, permission, method)


def check_permissions(names: Iterable[str]) -> tuple[str, ...]:
    """The permissions of a new key, in the house order. InvalidError names an unknown one."""
    wanted = {name.strip() for name in names if name.strip()}
    unknown = sorted(wanted - set(PERMISSIONS))
    if unknown or not wanted:
        raise InvalidError(
            f"unknown permission: {', '.join(unknown)}" if unknown else "a key needs at least one permission",
            problems=(Problem("permissions", "not valid", f"choose from {', '.join(PERMISSIONS)}"),),
        )
    return tuple(name for name in PERMISSIONS if name in wanted)


def caller_trace(metadata: Mapping[str, str]) -> str:
    """The caller's W3C traceparent if it is well formed, else the empty string."""
    value = metadata.get("traceparent", "")
    return value if _TRACEPARENT.match(value) else ""


# --- what ---


def check_submission(request: Submission) -> None:
    """InvalidError with every bound that the scalars of a submission break."""
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
        raise InvalidError(f"the submission is not valid: {problems[0]}", problems=tuple(problems))


def check_tags(tags: Mapping[str, str]) -> None:
    if problems := tuple(_tag_problems(tags)):
        raise InvalidError(f"the tags are not valid: {problems[0]}", problems=problems)


def _tag_problems(tags: Mapping[str, str]) -> Iterable[Problem]:
    if len(tags) > TAGS_MAX:
        yield Problem("tags", f"{len(tags)} tags", f"use at most {TAGS_MAX}")
    for name, value in list(tags.items())[:TAGS_MAX]:
        if not TAG_NAME.match(name):
            yield Problem(f"tags[{name[:40]!r}]", "not a tag name", "use 1 to 64 letters, digits, '_', '.', '/' or '-'")
        if len(value) > TAG_VALUE_CHARS_MAX:
            yield Problem(f"tags[{name[:40]!r}]", f"{len(value):,} characters", f"use at most {TAG_VALUE_CHARS_MAX}")


def check_size(size: int, limit: int, place: str = "inputs") -> None:
    """size: bytes of the inputs (or what `place` names) as JSON."""
    if size > limit:
        fix = "put the data in a file or a bucket and pass its key; a tool step reads it"
        raise InvalidError(
            f"`{place}` is {size:,} bytes as JSON, the limit is {limit:,}: {fix}",
            kind="inputs_too_large",
            problems=(Problem(place, f"{size:,} bytes, the limit is {limit:,}", fix),),
        )


def check_event_size(size: int) -> None:
    """size: bytes of `run.submitted`. The server takes messages of 8 MiB."""
    if size > EVENT_BYTES_MAX:
        fix = "split the workflow, or fork at an earlier step"
        raise InvalidError(
            f"the run is {size:,} bytes with its definitions and kept steps, the limit is {EVENT_BYTES_MAX:,}: {fix}",
            kind="run_too_large",
            problems=(Problem("definition", f"{size:,} bytes in all", fix),),
        )


def check_reserved(encoded: bytes, value: Any, place: str) -> None:
    """The engine marks what is stored out of line with this key; a client's mark would name somebody else's value.

    encoded: the value as JSON, which tells nearly always that there is nothing to look for.
    """
    if f'"{MARKER}"'.encode() in encoded and (found := marker_place(value, place)):
        fix = "rename it"
        raise InvalidError(
            f"a reserved key is used: {found}: the key `{MARKER}` is the engine's own ({fix})",
            kind="reserved_key",
            problems=(Problem(found, f"the key `{MARKER}` is the engine's own", fix),),
        )


def check_text(value: str, place: str, chars_max: int) -> str:
    """The text, if it is short enough and can be stored."""
    if "\x00" in value:
        raise InvalidError(
            f"`{place}` holds a NUL character", problems=(Problem(place, "a NUL character", "remove it"),)
        )
    if len(value) > chars_max:
        raise InvalidError(
            f"`{place}` is {len(value):,} characters long",
            problems=(Problem(place, f"{len(value):,} characters", f"use at most {chars_max:,}"),),
        )
    return value


def page_size(asked: int, default: int = PAGE_SIZE_DEFAULT) -> int:
    if not 0 <= asked <= PAGE_SIZE_MAX:
        raise InvalidError(
            f"page_size {asked} is out of range",
            problems=(Problem("page_size", "out of range", f"use 1 to {PAGE_SIZE_MAX}, or 0 for {default}"),),
        )
    return asked or default


def exact_number(value: float, place: str) -> int | float:
    """A protobuf number as JSON has it: integral doubles are integers again. InvalidError for NaN and infinity."""
    if not math.isfinite(value):
        raise InvalidError(
            f"{place} is not a number that JSON knows",
            problems=(Problem(place, "NaN or infinity", "use null or a finite number"),),
        )
    return int(value) if value.is_integer() and abs(value) <= NUMBER_EXACT_MAX else value


def missing_names(place_of: Mapping[str, str], known: Iterable[str], kind: str) -> tuple[Problem, ...]:
    """Problems for names that no worker offers. place_of: name -> where the definition uses it; kind: `tool`."""
    names = sorted(known)
    problems = []
    for name, place in place_of.items():
        if name not in names:
            close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            known_text = ", ".join(close or names[:10]) or "none"
            fix = f"did you mean {known_text}?" if close else f"the workers offer {known_text}"
            problems.append(Problem(place, f"unknown {kind} {name!r}", fix))
    return tuple(problems)


def missing_prompts(place_of: Mapping[str, str], missing: Iterable[str], known: Iterable[str]) -> tuple[Problem, ...]:
    """Problems for prompt references that name nothing. known: the names of the org's prompts."""
    names = sorted(known)
    problems = []
    for ref in missing:
        name, _, version = ref.partition("@")
        if name in names and version:
            fix = f"the prompt {name!r} has no version or label {version!r}: see `agentctl prompt get {name}`"
        else:
            close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(close)}? Or " if close else ""
            fix = f"{hint}create it: agentctl prompt create {name} --template FILE"
        problems.append(Problem(place_of.get(ref, "dag.nodes"), f"the prompt {ref!r} does not exist", fix))
    return tuple(problems)


def dotted(path: tuple[str | int, ...], lines: Mapping[tuple[str | int, ...], int] | None) -> str:
    """A path in a definition as its author reads it: `line 12, dag.nodes[2].config.prompt_ref`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    line = lines.get(path) if lines else None
    return f"line {line}, {text}" if line else text


# --- the same again? ---


def submission_digest(secret: bytes, org: str, source: str, inputs: Any, request: Submission) -> str:
    """Says whether two submissions with one idempotency key ask for the same.

    source: `ref:<name@version>` as the client wrote it (a newer version in between changes nothing), or `def:<digest>`.
    Keyed with a secret, because the log holds the digest and the inputs may be guessable personal data.
    """
    covered = [org, source, inputs, request.tags, request.priority, request.budget_cents, request.deadline_ms]
    return hmac.new(secret, msgspec.json.encode(covered, order="sorted"), hashlib.sha256).hexdigest()


def stored_key(secret: bytes, key: str, sensitive: bool) -> str:
    """How the log names an idempotency key: itself, or a keyed digest when it looks like personal data.

    A digest stays as it is: answers tell it, so it may come back in the place of the key.
    """
    if not sensitive or _STORED_KEY.match(key):
        return key
    return "hmac:" + hmac.new(secret, key.encode(), hashlib.sha256).hexdigest()[:32]


def same_submission(first: RunSubmitted, digest: str) -> bool:
    return hmac.compare_digest(first.digest, digest)
